import base64

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from medseg.report.pictures import case_pictures, outline
from medseg.volumes import Volume, read_volume, write_label_map
from tests.report.example import AFFINE, LABELS, case, entry, five_cases, results, rows_of, write

COLOURS = {"liver": "#ff0000", "left kidney": "#0000ff"}


def drawn(folder, content, index=0):
    row = rows_of(content)[index]
    return case_pictures("Worst case", row, content, COLOURS, folder)


def points(path):
    """The outlines of an SVG path as arrays of (x, y)."""
    rings = [ring for ring in path.replace("M", "").split("Z") if ring]
    return [np.array([p.split(",") for p in ring.split("L")], float) for ring in rings]


def test_an_outline_runs_around_the_pixels_of_its_mask():
    mask = np.zeros((9, 12), bool)
    mask[2:6, 3:8] = True
    (ring,) = points(outline(mask))
    assert ring.min(axis=0).tolist() == [3.0, 2.0]
    assert ring.max(axis=0).tolist() == [8.0, 6.0]


def test_outlines_hold_the_centres_of_their_pixels_and_no_others():
    mask = np.random.default_rng(3).random((15, 20)) > 0.6
    rows, columns = np.mgrid[0:15, 0:20]
    centres = np.column_stack([columns.ravel() + 0.5, rows.ravel() + 0.5])
    inside = sum(
        Polygon(ring).contains_points(centres).astype(int) for ring in points(outline(mask))
    )
    assert np.array_equal(inside % 2 == 1, mask.ravel())


def test_nothing_has_no_outline():
    assert outline(np.zeros((3, 3), bool)) == ""


def test_contours_and_scan_stand_on_one_grid_in_radiological_view(tmp_path):
    content = results(five_cases())
    pictures = drawn(write(tmp_path, content), content, 3)
    assert pictures.notices == []
    view = pictures.slices[0]
    liver, kidney = view.contours
    # the liver lies at high x, the patient's right: left in the picture
    assert liver.anchor[0] < 50 < kidney.anchor[0]
    width, height = view.size
    assert view.size_mm == (2.0 * width, 2.0 * height)
    scan = cv2.imdecode(np.frombuffer(base64.b64decode(view.grey), np.uint8), 0)
    assert scan.shape == (height, width)
    # x = 0 of the example is air, x = 19 is bone: bone on the left
    assert scan[:, 0].mean() > 200
    assert scan[:, -1].mean() < 50
    (truth,), (prediction,) = points(liver.truth), points(liver.prediction)
    assert (truth - prediction).max() == pytest.approx(1.0)  # predicted one voxel to the right


def test_pictures_are_the_same_however_the_file_is_turned(tmp_path):
    content = results(five_cases())
    folder = write(tmp_path, content)
    before = drawn(folder, content, 3).slices
    for kind in ("label", "pred"):
        path = folder / kind / "d.nii.gz"
        volume = read_volume(path, "label")
        flip = np.diag([-1.0, -1.0, 1.0, 1.0])
        flip[:2, 3] = 19, 15
        write_label_map(path, Volume(volume.array[::-1, ::-1], volume.affine @ flip))
    after = drawn(folder, content, 3).slices
    assert [view.contours for view in after] == [view.contours for view in before]


def test_truth_with_values_of_its_own_is_read_by_name(tmp_path):
    cases = five_cases()
    content = results(cases)
    folder = write(tmp_path, content)
    before = drawn(folder, content, 3).slices
    path = folder / cases[3]["label"]
    label = read_volume(path, "label")
    swapped = np.select([label.array == 1, label.array == 5], [5, 9], 0)
    write_label_map(path, Volume(swapped, label.affine))
    cases[3]["label_values"] = {"liver": 5, "left kidney": 9}
    assert drawn(folder, content, 3).slices == before


def test_files_that_changed_since_the_evaluation_are_noticed(tmp_path):
    liver = entry(dsc=0.5, hd95=1.0, voxels=(90, 90))
    kidney = entry(dsc=0.5, hd95=1.0, voxels=(36, 36))
    cases = [case("a", liver=liver, left_kidney=kidney)]
    content = results(cases)
    folder = write(tmp_path, content)
    assert drawn(folder, content).notices == []
    empty = Volume(np.zeros((20, 16, 6), np.uint8), AFFINE)
    write_label_map(folder / cases[0]["prediction"], empty)
    (notice,) = drawn(folder, content).notices
    assert "The prediction file does not hold the volumes that were evaluated (liver" in notice
    assert list(LABELS)[1] in notice


def test_a_prediction_on_another_grid_is_noticed(tmp_path):
    content = results(five_cases())
    folder = write(tmp_path, content)
    other = Volume(np.zeros((20, 16, 7), np.uint8), AFFINE)
    write_label_map(folder / "pred" / "a.nii.gz", other)
    pictures = drawn(folder, content)
    assert pictures.slices == []
    assert "on the grid (20, 16, 6) of the label, got shape (20, 16, 7)" in pictures.notices[0]


def test_a_case_without_an_image_is_drawn_without(tmp_path):
    cases = five_cases()
    cases[0]["image"] = None
    content = results(cases)
    pictures = drawn(write(tmp_path, results(five_cases())), content)
    assert "only the contours" in pictures.notices[0]
    assert pictures.slices[0].grey == ""
    assert pictures.slices[0].contours

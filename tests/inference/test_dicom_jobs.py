"""DICOM series among the cases of a job, and what is written beside their label maps."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from medseg import cli
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.inference.inputs import cases_of
from medseg.inference.predict import PredictSettings, predict
from medseg.preview import preview
from medseg.view.view import serve
from medseg.volumes import Volume, find_series, read_volume, write_volume
from tests.inference.small import image, truth, write_threshold_model
from tests.volumes.dicom_writer import write_series

AFFINE = np.diag([-0.8, -0.8, 3.0, 1.0])
SETTINGS = PredictSettings(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def scans(tmp_path):
    """A NIfTI, a series, a zip, a damaged zip, two series in one folder, and a folder of notes."""
    root = tmp_path / "scans"
    write_volume(root / "case_0.nii.gz", Volume(image(0), AFFINE))
    write_series(root / "case_1", Volume(image(1), AFFINE))
    paths = write_series(tmp_path / "packed", Volume(image(2), AFFINE))
    with zipfile.ZipFile(root / "case_2.zip", "w") as file:
        for path in paths:
            file.write(path, path.name)
    (root / "case_3.zip").write_bytes((root / "case_2.zip").read_bytes()[:-200])
    for name in ("a", "b"):
        write_series(root / "case_4" / name, Volume(image(4), AFFINE))
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("no scan")
    return root


def test_every_scan_of_a_folder_is_a_case_and_the_bad_ones_are_told(scans, tmp_path, model):
    manifest = predict(scans, tmp_path / "out", model=model, settings=SETTINGS)
    found = {case["case_id"]: case for case in manifest["cases"]}
    assert list(found) == [f"case_{number}" for number in range(5)]
    for number in range(3):
        array = read_volume(tmp_path / "out" / f"case_{number}.nii.gz").array
        assert (array == 7).sum() == (truth(number) == 7).sum()
    assert "zip" in found["case_3"]["error"]
    assert "expected one series, got 2" in found["case_4"]["error"]


def test_a_series_is_named_by_its_uid(scans, tmp_path, model):
    uid = find_series(scans / "case_4")[0].uid
    manifest = predict(
        scans / "case_4", tmp_path / "out", model=model, settings=SETTINGS, series_uid=uid
    )
    assert manifest["cases"][0]["status"] == "done"
    other = {"model": model, "settings": SETTINGS, "series_uid": "1.2.3"}
    with pytest.raises(InputError, match=r"expected the series 1\.2\.3"):
        predict(scans / "case_4", tmp_path / "x", **other)


def test_a_folder_of_slices_is_one_case(scans):
    (case,) = cases_of(scans / "case_1")
    assert case.case_id == "case_1"


def test_slices_beside_other_scans_are_not_passed_over(scans):
    for path in (scans / "case_1").iterdir():
        path.rename(scans / path.name)
    with pytest.raises(InputError, match="the slices of one series, got both"):
        cases_of(scans)


def test_segmentations_and_contours_lie_beside_the_label_map(scans, tmp_path, model, capsys):
    highdicom = pytest.importorskip("highdicom")
    command = [
        "predict",
        "-i",
        str(scans / "case_1"),
        "-o",
        str(tmp_path / "out"),
        "-m",
        str(model),
    ]
    command += ["--dicom-seg", "--rtstruct", "--preview", "--no-progress", "--device", "cpu"]
    assert cli.run(command) == 0, capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file())
    wanted = ["case_1.nii.gz", "case_1.png", "case_1.rtstruct.dcm", "case_1.seg.dcm"]
    assert names == [*wanted, "predictions.json"]
    segments = highdicom.seg.segread(tmp_path / "out" / "case_1.seg.dcm")
    assert [one.SegmentLabel for one in segments.SegmentSequence] == ["bone"]
    assert segments.pixel_array.sum() == (truth(1) == 7).sum()
    (case,) = read_json(tmp_path / "out" / "predictions.json")["cases"]
    assert list(case["extras"]) == ["case_1.seg.dcm", "case_1.rtstruct.dcm"]
    before = (tmp_path / "out" / "case_1.nii.gz").stat().st_mtime_ns
    assert cli.run(command) == 0
    assert (tmp_path / "out" / "case_1.nii.gz").stat().st_mtime_ns == before
    (tmp_path / "out" / "case_1.seg.dcm").unlink()
    assert cli.run(command) == 0
    assert (tmp_path / "out" / "case_1.seg.dcm").is_file()


def test_a_series_with_another_slice_is_predicted_anew(scans, tmp_path, model):
    predict(scans / "case_1", tmp_path / "out", model=model, settings=SETTINGS)
    write_series(scans / "case_1", Volume(image(9), AFFINE))
    predict(scans / "case_1", tmp_path / "out", model=model, settings=SETTINGS)
    found = read_volume(tmp_path / "out" / "case_1.nii.gz").array
    assert (found == 7).sum() == (truth(9) == 7).sum()


def test_an_unknown_extra_is_refused(scans, tmp_path, model):
    with pytest.raises(UsageError, match="expected one of probabilities, seg, rtstruct"):
        predict(scans, tmp_path / "out", model=model, settings=PredictSettings(extras=("pdf",)))


def test_results_among_the_scans_are_no_case_of_the_next_call(scans, tmp_path, model):
    pytest.importorskip("highdicom")
    for name in ("case_3.zip", "case_0.nii.gz"):
        (scans / name).unlink()
    settings = replace(SETTINGS, extras=["seg"])
    for _ in range(2):
        done = predict(scans, scans / "out", model=model, settings=settings)
        assert [case["case_id"] for case in done["cases"]] == ["case_1", "case_2", "case_4"]
    assert (scans / "out" / "case_1.seg.dcm").is_file()


@pytest.mark.parametrize("within", [".", "out"])
def test_an_output_folder_within_a_series_is_refused(within, scans, model):
    before = sorted(scans.rglob("*"))
    for source in (scans, scans / "case_1"):
        with pytest.raises(UsageError, match=r"within the series .*case_1"):
            predict(source, scans / "case_1" / within, model=model, settings=SETTINGS)
    assert sorted(scans.rglob("*")) == before


def test_a_structure_set_that_another_hand_drew_is_not_replaced(scans, tmp_path, model):
    drawn = tmp_path / "out" / "case_1.rtstruct.dcm"
    drawn.parent.mkdir()
    drawn.write_bytes(b"drawn by hand")
    settings = replace(SETTINGS, extras=("rtstruct",))
    with pytest.raises(UsageError, match=r"case_1\.rtstruct\.dcm: there already"):
        predict(scans / "case_1", tmp_path / "out", model=model, settings=settings)
    assert drawn.read_bytes() == b"drawn by hand"


def test_a_series_is_drawn_and_viewed_like_any_other(scans, tmp_path, model):
    predict(scans / "case_1", tmp_path / "out", model=model, settings=SETTINGS)
    assert preview(tmp_path / "out") == {}
    assert (tmp_path / "out" / "case_1.png").is_file()
    with serve(tmp_path / "out", case_id="case_1") as server:
        assert {"0.nii", "1.nii"} <= server.documents.keys()


def test_one_of_several_series_is_drawn_and_viewed_as_the_one_it_was_named(scans, tmp_path, model):
    uid = find_series(scans / "case_4")[1].uid
    settings = replace(SETTINGS, tta="front_back")
    done = predict(
        scans / "case_4", tmp_path / "out", model=model, settings=settings, series_uid=uid
    )
    assert done["settings"]["series_uid"] == uid
    assert done["settings"]["tta"] == "front_back"
    assert preview(tmp_path / "out") == {}
    with serve(tmp_path / "out", case_id="case_4") as server:
        assert {"0.nii", "1.nii"} <= server.documents.keys()
    with serve(scans / "case_4", series_uid=uid) as server:
        assert "0.nii" in server.documents
    with pytest.raises(InputError, match="expected one series, got 2"), serve(scans / "case_4"):
        pass

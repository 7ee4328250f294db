"""Faults to inject into a clean data set, each with the problems a check must then name.

Every function takes the folder of :func:`tests.datasets.make.decathlon` and spoils the case
``two``, or the data set as a whole.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.datasets.make import (
    AFFINE,
    IDS,
    SHAPE,
    image_array,
    label_array,
    write_json,
    write_nifti,
)

FAULTS: dict[str, tuple[Callable[[Path], object], set[str]]] = {}


def fault(*kinds: str) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def add(function: Callable[[Path], object]) -> Callable[[Path], object]:
        FAULTS[function.__name__] = (function, set(kinds))
        return function

    return add


def image(root, case_id="two"):
    return root / "imagesTr" / f"{case_id}.nii.gz"


def label(root, case_id="two"):
    return root / "labelsTr" / f"{case_id}.nii.gz"


def described(root, **changes):
    content = json.loads((root / "dataset.json").read_text())
    write_json(root / "dataset.json", {**content, **changes})


def spoiled_affine(**entries):
    affine = AFFINE.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


def rewrite_image(root, change, dtype=np.float32):
    array = image_array(1)
    change(array)
    write_nifti(image(root), array.astype(dtype))


def rewrite_label(root, change, dtype=np.uint8):
    array = label_array().astype(dtype)
    change(array)
    write_nifti(label(root), array)


# files


@fault("unreadable")
def image_cut_off(root):
    content = image(root).read_bytes()
    image(root).write_bytes(content[: len(content) // 2])


@fault("unreadable")
def label_cut_off_in_its_last_bytes(root):
    label(root).write_bytes(label(root).read_bytes()[:-6])


@fault("unreadable")
def checksum_broken_though_the_voxels_are_whole(root):
    content = bytearray(image(root).read_bytes())
    content[-6] ^= 0xFF
    image(root).write_bytes(bytes(content))


@fault("unreadable")
def fewer_voxels_than_the_header_says(root):
    content = gzip.decompress(image(root).read_bytes())
    image(root).write_bytes(gzip.compress(content[:-40]))


@fault("unreadable")
def no_volume_at_all(root):
    label(root).write_bytes(gzip.compress(b"<html>404</html>"))


@fault("empty-file")
def label_of_no_bytes(root):
    label(root).write_bytes(b"")


@fault("label-without-image")
def image_gone(root):
    image(root).unlink()


@fault("image-without-label")
def label_gone(root):
    label(root).unlink()


@fault("missing-file")
def image_and_label_gone(root):
    image(root).unlink()
    label(root).unlink()


@fault("surplus-file")
def file_not_listed(root):
    write_nifti(root / "imagesTr" / "five.nii.gz", image_array(9))


@fault("path-outside", "surplus-file")
def path_that_climbs_out(root):
    listed = json.loads((root / "dataset.json").read_text())["training"]
    listed[1]["image"] = "../two.nii.gz"
    described(root, training=listed)


@fault("metadata", "surplus-file")
def entry_without_a_label(root):
    listed = json.loads((root / "dataset.json").read_text())["training"]
    del listed[1]["label"]
    described(root, training=listed)


@fault("count-differs")
def fewer_cases_than_announced(root):
    described(root, numTraining=40)


@fault("no-cases", "count-differs")
def no_cases(root):
    described(root, training=[])


# geometry


@fault("dimensions")
def image_with_two_time_points(root):
    write_nifti(image(root), np.stack([image_array(1)] * 2, axis=-1))


@fault("dimensions")
def label_of_two_dimensions(root):
    write_nifti(label(root), label_array()[:, :, 2])


@fault("voxel-type")
def image_in_colours(root):
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    write_nifti(image(root), colours)


@fault("shape-mismatch")
def label_one_slice_short(root):
    write_nifti(label(root), label_array()[..., :-1])


@fault("shape-mismatch")
def label_with_axes_in_another_order(root):
    write_nifti(label(root), label_array().transpose(2, 1, 0))


@fault("spacing-mismatch")
def label_of_another_spacing(root):
    write_nifti(label(root), label_array(), spoiled_affine(_22=2.9))


@fault("direction-mismatch")
def label_flipped(root):
    write_nifti(label(root), label_array(), spoiled_affine(_00=-1.5))


@fault("direction-mismatch")
def label_turned_by_a_degree(root):
    c, s = np.cos(np.pi / 180), np.sin(np.pi / 180)
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write_nifti(label(root), label_array(), turn @ AFFINE)


@fault("origin-mismatch")
def label_moved_by_a_fiftieth_of_a_millimetre(root):
    write_nifti(label(root), label_array(), spoiled_affine(_13=31.02))


@fault("direction-skewed")
def gantry_tilt(root):
    tilted = spoiled_affine(_12=0.3)

    def keep_the_sform(header):
        header["qform_code"] = 0

    write_nifti(image(root), image_array(1), tilted, keep_the_sform)
    write_nifti(label(root), label_array(), tilted, keep_the_sform)


@fault("affine-invalid")
def spacing_of_zero(root):
    def edit(header):
        header["sform_code"], header["pixdim"][3] = 0, 0

    write_nifti(image(root), image_array(1), np.diag([1.0, 1, 1, 1]), edit)
    write_nifti(label(root), label_array(), np.diag([1.0, 1, 1, 1]), edit)


@fault("affine-invalid")
def affine_of_nan(root):
    def edit(header):
        header["srow_x"] = np.nan

    write_nifti(image(root), image_array(1), AFFINE, edit)


@fault("spacing-absurd")
def spacing_in_metres(root):
    for write, array in ((image, image_array(1)), (label, label_array())):
        write_nifti(write(root), array, np.diag([0.0015, 0.00125, 0.003, 1]))


@fault("units-not-mm")
def units_of_micrometres(root):
    write_nifti(image(root), image_array(1), AFFINE, lambda header: header.set_xyzt_units("micron"))


@fault("no-orientation")
def neither_sform_nor_qform(root):
    def edit(header):
        header["sform_code"] = header["qform_code"] = 0

    for write, array in ((image, image_array(1)), (label, label_array())):
        write_nifti(write(root), array, AFFINE, edit)


@fault("qform-sform")
def qform_elsewhere_than_sform(root):
    def edit(header):
        header["qoffset_x"] = 100

    write_nifti(image(root), image_array(1), AFFINE, edit)


@fault("pixdim-differs")
def pixdim_other_than_sform(root):
    def edit(header):
        header["pixdim"][3], header["qform_code"] = 5, 0

    write_nifti(image(root), image_array(1), AFFINE, edit)


@fault("single-slice")
def volume_of_one_slice(root):
    write_nifti(image(root), image_array(1)[..., 1:2])
    write_nifti(label(root), label_array()[..., 1:2])


# values


@fault("nan")
def image_with_nan(root):
    rewrite_image(root, lambda array: array.__setitem__((0, 0, 0), np.nan))


@fault("infinity")
def image_with_infinity(root):
    rewrite_image(root, lambda array: array.__setitem__((2, 3, 1), -np.inf))


@fault("constant-image")
def image_of_one_value(root):
    rewrite_image(root, lambda array: array.fill(-1024))


@fault("nan")
def label_with_nan(root):
    rewrite_label(root, lambda array: array.__setitem__((0, 0, 0), np.nan), np.float32)


@fault("label-unknown-value")
def label_value_outside_the_map(root):
    rewrite_label(root, lambda array: array.__setitem__((0, 0, 0), 7))


@fault("label-not-integer")
def label_interpolated(root):
    rewrite_label(root, lambda array: array.__setitem__((0, 0, 0), 0.5), np.float32)


@fault("label-negative")
def label_negative(root):
    rewrite_label(root, lambda array: array.__setitem__((0, 0, 0), -1), np.int16)


@fault("label-empty")
def label_of_background(root):
    rewrite_label(root, lambda array: array.fill(0))


@fault("label-no-background")
def label_without_background(root):
    rewrite_label(root, lambda array: array.__setitem__(array == 0, 1))


@fault("swapped")
def image_and_label_swapped(root):
    write_nifti(image(root), label_array())
    write_nifti(label(root), image_array(1))


@fault("swapped")
def image_and_label_swapped_as_whole_numbers(root):
    write_nifti(image(root), label_array())
    write_nifti(label(root), image_array(1).astype(np.int16))


@fault("image-equals-label")
def image_overwritten_by_its_label(root):
    write_nifti(image(root), label_array())


@fault("image-like-label")
def image_overwritten_by_another_label(root):
    write_nifti(image(root), label_array()[::-1])


# between cases


@fault("organ-never")
def organ_of_the_map_in_no_case(root):
    described(root, labels={"0": "background", "1": "a", "2": "b", "3": "c"})


@fault("duplicate-image")
def one_image_under_two_names(root):
    write_nifti(image(root), image_array(0))


@fault("image-in-two-splits")
def one_image_in_training_and_test(root):
    write_nifti(image(root), image_array(0))
    write_json(root / "splits.json", {"train": ["one", "three", "four"], "test": ["two"]})


@fault("duplicate-case")
def one_name_for_two_cases(root):
    write_nifti(root / "more" / "image.nii.gz", image_array(9))
    write_nifti(root / "again" / "two.nii.gz", label_array())
    listed = json.loads((root / "dataset.json").read_text())["training"]
    listed.append({"image": "more/image.nii.gz", "label": "again/two.nii.gz"})
    described(root, training=listed, numTraining=5)


@fault("patient-in-two-splits")
def one_case_in_training_and_test(root):
    write_json(root / "splits.json", {"train": ["one", "two"], "test": ["two", "three", "four"]})


@fault("split-unknown-case")
def split_names_no_case(root):
    write_json(root / "splits.json", {"train": [*IDS, "five"]})


@fault("case-without-split")
def case_in_no_split(root):
    write_json(root / "splits.json", {"train": ["one", "two", "three"]})


@fault("empty-split")
def split_without_cases(root):
    write_json(root / "splits.json", {"train": list(IDS), "test": []})

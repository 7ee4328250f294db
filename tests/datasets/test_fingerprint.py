import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from medseg.case import Case
from medseg.datasets.fingerprint import fingerprint
from medseg.errors import InputError
from tests.datasets.make import write_nifti

LABELS = {"left": 1, "right": 5}
TURNED = np.array([[0, 0, -3.0, 9], [2.0, 0, 0, 1], [0, -1.0, 0, 4], [0, 0, 0, 1]])  # axes A, I, L


def case(folder, name, *, low=-900.0, affine=None):
    """An image of 10 · 8 · 6 voxels of 2 · 1 · 3 mm with two organs."""
    affine = np.diag([2.0, 1.0, 3.0, 1.0]) if affine is None else affine
    image, label = np.full((10, 8, 6), low, np.float32), np.zeros((10, 8, 6), np.uint8)
    label[1:3, 2:6, 0:5], label[5:9, 0:1, 1:2] = 1, 5
    image[label == 1], image[label == 5] = 50, 150
    return Case(
        name,
        write_nifti(folder / f"{name}.nii", image, affine),
        write_nifti(folder / f"{name}_label.nii", label, affine),
        LABELS,
    )


def test_sizes_spacings_and_organs_are_those_drawn(tmp_path):
    found = fingerprint([case(tmp_path, "a"), case(tmp_path, "b")], LABELS)
    assert found.shapes == [(10, 8, 6)] * 2
    assert found.spacings == [(2.0, 1.0, 3.0)] * 2
    assert found.modality == "CT"
    left = found.organs["left"]
    assert left.cases == 2
    assert left.millilitres == pytest.approx(0.24)  # 40 voxels of 6 mm³
    assert left.extent_mm == (4.0, 4.0, 15.0)
    assert left.share == pytest.approx(40 / 480)
    assert found.intensities["0.5"] == 50
    assert found.intensities["99.5"] == 150


def test_axes_are_told_in_ras_whatever_the_file_has(tmp_path):
    found = fingerprint([case(tmp_path, "a", affine=TURNED)], LABELS)
    assert found.shapes == [(6, 10, 8)]  # the file's axes run forwards, feetwards and left
    assert found.spacings == [(3.0, 2.0, 1.0)]
    assert found.organs["left"].extent_mm == (15.0, 4.0, 4.0)


def test_an_image_without_air_is_no_ct_unless_it_is_said_to_be(tmp_path):
    cases = [case(tmp_path, "a", low=0.0)]
    assert fingerprint(cases, LABELS).modality == "other"
    assert fingerprint(cases, LABELS, modality="CT").modality == "CT"
    assert fingerprint(cases, LABELS, modality="MRI").modality == "other"


def test_of_many_cases_only_some_are_read_whole(tmp_path):
    one = case(tmp_path, "a")
    found = fingerprint([replace(one, case_id=str(number)) for number in range(60)], LABELS)
    assert (found.num_cases, found.cases_read) == (60, 40)
    assert set(found.shapes) == {(10, 8, 6)}


def test_a_damaged_case_is_named(tmp_path):
    cases = [case(tmp_path, "a"), case(tmp_path, "b")]
    cases[1].image.write_bytes(cases[1].image.read_bytes()[:900])
    with pytest.raises(InputError, match=r"b \(.*see `medseg check`"):
        fingerprint(cases, LABELS)


def test_a_fingerprint_needs_no_torch():
    code = "import sys, medseg.datasets.fingerprint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

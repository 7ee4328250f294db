from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.datasets.check_geometry import geometry_problems, mismatch
from medseg.datasets.check_reading import Content

TOLERANCE_MM = 0.01
SHAPE = (512, 400, 130)


@st.composite
def affines(draw):
    """Grids as scanners make them: any direction, spacing and place."""
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 8)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


def content(affine, shape=SHAPE, header=None):
    array = np.broadcast_to(np.float32(0), shape)
    return Content(Path("x.nii.gz"), array, np.asarray(affine, dtype=float), header)


def kinds(problems):
    return [problem.kind for problem in problems]


@given(affines())
def test_float_noise_in_a_header_is_no_mismatch(affine):
    noisy = affine.astype(np.float32)
    assert kinds(mismatch(content(affine), content(noisy), TOLERANCE_MM)) == []


@given(affines(), st.sampled_from(["spacing", "direction", "origin"]), st.integers(0, 2))
def test_any_move_of_a_corner_beyond_the_tolerance_is_named_for_what_it_is(affine, what, axis):
    other = affine.copy()
    if what == "spacing":
        other[:3, axis] *= 1 + 0.02 / 0.3 / (SHAPE[axis] - 1)
    elif what == "direction":
        turn = Rotation.from_euler("xyz"[axis], 0.01).as_matrix()
        other[:3, :3] = turn @ other[:3, :3]
    else:
        other[axis, 3] += 0.0101
    assert kinds(mismatch(content(affine), content(other), TOLERANCE_MM)) == [f"{what}-mismatch"]


@given(affines(), st.integers(0, 3), st.integers(0, 2), st.floats(1e-5, 10))
def test_a_mismatch_is_reported_exactly_when_a_corner_moves_too_far(affine, column, row, change):
    other = affine.copy()
    other[row, column] += change
    ends = np.array([[(SHAPE[d] - 1) * (i >> d & 1) for d in range(3)] + [1] for i in range(8)])
    moved = np.linalg.norm((ends @ (other - affine).T)[:, :3], axis=1).max()
    if abs(moved - TOLERANCE_MM) > 1e-9:
        found = kinds(mismatch(content(affine), content(other), TOLERANCE_MM))
        assert len(found) == (moved > TOLERANCE_MM)


@given(affines())
def test_no_scanner_geometry_in_float32_is_called_faulty(affine):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), dtype=np.uint8), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    written = nib.Nifti1Image.from_bytes(image.to_bytes())
    found = content(written.affine, header=written.header)
    assert kinds(geometry_problems(found)) == []


@given(affines(), st.floats(0.2, 80))
def test_a_tilt_is_found_from_a_fifth_of_a_degree_on(affine, degrees):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    angle = np.radians(degrees)
    axes[:, 2] = np.cos(angle) * axes[:, 2] + np.sin(angle) * axes[:, 1]
    affine[:3, :3] = axes * spacing
    assert "direction-skewed" in kinds(geometry_problems(content(affine)))


def test_axes_in_another_order_are_said_to_be():
    (problem,) = mismatch(
        content(np.eye(4), (4, 5, 6)), content(np.eye(4), (6, 5, 4)), TOLERANCE_MM
    )
    assert problem.got == "6×5×4 (the axes in another order)"


def test_flat_and_infinite_grids_are_invalid():
    flat = np.eye(4)
    flat[:3, 2] = flat[:3, 1]
    infinite = np.eye(4)
    infinite[0, 3] = np.inf
    zero = np.diag([1.0, 0, 1, 1])
    for affine in (flat, infinite, zero):
        assert kinds(geometry_problems(content(affine))) == ["affine-invalid"]

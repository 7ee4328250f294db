import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import InputError, UsageError
from medseg.volumes import (
    Volume,
    corner_distance_mm,
    read_header,
    read_volume,
    stem_of,
    suffix_of,
    write_label_map,
    write_volume,
)

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")


def _volume(affine=None, dtype=np.uint8):
    array = np.arange(2 * 3 * 4, dtype=dtype).reshape(2, 3, 4)
    return Volume(array, np.diag([0.7, 0.8, 5.0, 1.0]) if affine is None else affine)


def _orientations():
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3)[list(order)] * signs) @ np.diag([0.7, 0.8, 5.0])
        affine[:3, 3] = (10, -20, 30)
        yield affine


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_orientation_returns_with_its_voxels_and_affine(tmp_path, suffix):
    affines = list(_orientations())
    assert len(affines) == 48
    for affine in affines:
        write_volume(tmp_path / f"a{suffix}", _volume(affine))
        back = read_volume(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(back.array, _volume().array)
        np.testing.assert_allclose(back.affine, affine, atol=1e-5)


def test_the_same_world_point_is_read_from_nifti_and_from_itk(tmp_path):
    for suffix in (".nii.gz", ".nrrd"):
        write_volume(tmp_path / f"a{suffix}", _volume(list(_orientations())[17]))
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    lps = np.array(image.TransformIndexToPhysicalPoint((1, 2, 3)))
    ras = read_volume(tmp_path / "a.nii.gz").affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(lps * [-1, -1, 1], ras[:3], atol=1e-5)


def test_spacing_is_in_the_order_of_the_arrays_axes(tmp_path):
    write_volume(tmp_path / "a.nii", _volume())
    assert read_volume(tmp_path / "a.nii").spacing == pytest.approx((0.7, 0.8, 5.0))
    assert read_header(tmp_path / "a.nii").spacing == pytest.approx((0.7, 0.8, 5.0))
    assert read_header(tmp_path / "a.nii").shape == (2, 3, 4)


@pytest.mark.parametrize(("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (500, np.uint16)])
def test_a_label_map_takes_the_smallest_type_that_holds_it(tmp_path, highest, dtype):
    array = np.full((2, 2, 2), highest, dtype=np.int64)
    write_label_map(tmp_path / "a.nii.gz", Volume(array, np.eye(4)))
    back = read_volume(tmp_path / "a.nii.gz").array
    assert back.dtype == dtype
    assert (back == highest).all()


def test_slices_first_arrays_become_slices_last(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", image=array, label=array + 1)
    assert read_volume(tmp_path / "a.npz").array.shape == (3, 4, 2)
    assert read_volume(tmp_path / "a.npz", "label").array[0, 0, 1] == array[1, 0, 0] + 1


def test_a_case_may_be_one_file_per_slice(tmp_path):
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"slice{index}.npz")
        np.savez(paths[-1], image=np.full((4, 5), index), label=np.zeros((4, 5)))
    volume = read_volume(tuple(paths))
    assert volume.array.shape == (4, 5, 3)
    assert volume.array[0, 0].tolist() == [0, 1, 2]


def test_hdf5_arrays_are_read_by_name(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "case0001.npy.h5", "w") as file:
        file["image"] = np.zeros((6, 4, 5))
        file["label"] = np.ones((6, 4, 5))
    assert read_volume(tmp_path / "case0001.npy.h5", "label").array.shape == (4, 5, 6)
    with pytest.raises(InputError, match="case0001"):
        read_volume(tmp_path / "case0001.npy.h5", "mask")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_refused_in_one_line_that_names_it(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rng = np.random.default_rng(0)
    write_volume(path, Volume(rng.integers(0, 999, (30, 30, 30), dtype=np.int16), np.eye(4)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"expected a readable volume, got a damaged") as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [1, 4, 8, 9])
def test_a_gzip_whose_last_bytes_are_missing_is_refused(tmp_path, missing):
    path = tmp_path / "a.nii.gz"
    write_volume(path, _volume())
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_volume(path)


def test_a_gzip_of_several_members_is_read_whole(tmp_path):
    volume = _volume()
    write_volume(tmp_path / "a.nii.gz", volume)
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    half = len(content) // 2
    members = [gzip.compress(part) for part in (content[:half], content[half:])]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(members))
    array = read_volume(tmp_path / "a.nii.gz").array
    np.testing.assert_array_equal(array, volume.array)
    assert array.flags.writeable


def test_a_gzip_with_a_wrong_checksum_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_volume(path, _volume())
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read_volume(path)


def test_nifti_2_is_read_like_nifti_1(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti2Image(array, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / name)
        back = read_volume(tmp_path / name)
        np.testing.assert_array_equal(back.array, array)
        assert back.spacing == (1, 2, 3)


def test_what_is_no_volume_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"hello"))
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.uint8), np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(InputError, match=r"expected a volume \(\.nii"):
        read_volume(tmp_path / "a.txt")
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=r"expected a 3D volume, got shape \(2, 2, 2, 3\)"):
        read_volume(tmp_path / "c.nii")
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "d.nii")
    with pytest.raises(UsageError, match="npz"):
        write_volume(tmp_path / "e.npz", _volume())


def test_a_pickled_array_is_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "a.npy")


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").array.shape == (2, 3, 4)


def test_stored_scaling_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nib.save(image, tmp_path / "a.nii")
    raw = nib.load(tmp_path / "a.nii").dataobj.get_unscaled()
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").array, raw * 2.0 - 1000.0)


@given(st.floats(-5, 5), st.integers(0, 2))
def test_corners_move_by_as_much_as_the_origin(shift, axis):
    moved = np.eye(4)
    moved[axis, 3] += shift
    one, other = Volume(np.zeros((2, 3, 4)), np.eye(4)), Volume(np.zeros((2, 3, 4)), moved)
    assert corner_distance_mm(one, other, (2, 3, 4)) == pytest.approx(abs(shift))


def test_names_without_their_suffix():
    assert stem_of("x/case.1.nii.gz") == "case.1"
    assert suffix_of("CASE.NII.GZ") == ".nii.gz"
    assert stem_of("case0001.npy.h5") == "case0001"

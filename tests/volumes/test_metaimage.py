import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import InputError
from medseg.volumes import read_header, read_volume
from tests.volumes.dicom_writer import LPS_TO_RAS

TURNED = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
KINDS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]


def written(path, array, packed):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.7, 2.5)[: array.ndim])
    image.SetOrigin((-10.25, 20.5, 300.0)[: array.ndim])
    if array.ndim == 3:
        image.SetDirection(TURNED)
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_simpleitk_writes_is_read_as_simpleitk_reads_it(tmp_path, suffix, packed, kind):
    array = (np.random.default_rng(0).random((3, 4, 5)) * 100).astype(kind)
    path = written(tmp_path / f"volume{suffix}", array, packed)
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    volume, header = read_volume(path), read_header(path)
    assert volume.array.dtype == header.dtype == kind
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image).transpose())
    assert np.allclose(volume.affine, LPS_TO_RAS @ affine)
    assert np.array_equal(header.affine, volume.affine)
    assert header.shape == volume.array.shape == (5, 4, 3)
    assert volume.array.flags.writeable


def test_the_most_significant_byte_may_come_first(tmp_path):
    path = written(tmp_path / "volume.mha", np.full((2, 2, 2), 258, np.int16), packed=False)
    content = path.read_bytes().replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
    path.write_bytes(content)
    assert (read_volume(path).array == 513).all()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"DimSize = 5 4 3", b"DimSize = 5 4", "3 numbers as DimSize"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 0", "1 voxel or more"),
        (b"DimSize = 5 4 3", b"DimSize = 50000 40000 30000", "as its header says, got a file of"),
        (b"MET_SHORT", b"MET_WRONG", "an ElementType"),
        (b"Offset = ", b"Offset = nan ", "3 numbers as Offset"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", "the voxels in one file"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = gone.raw", "no such file"),
        (b"ElementDataFile", b"ElementDataFlie", "a header that ends with ElementDataFile"),
        (b"ElementType", b"ElementNumberOfChannels = 3\nElementType", "one number per voxel"),
        (b"BinaryData = True", b"BinaryData = False", "binary voxels"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, old, new, match):
    array = np.zeros((3, 4, 5), np.int16)
    path = written(tmp_path / "volume.mha", array, packed=True)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputError, match=match):
        read_volume(path)


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_breaks_off_is_refused_wherever_it_ends(tmp_path, packed):
    array = np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(np.int16)
    path = written(tmp_path / "volume.mha", array, packed)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(InputError):
            read_volume(path)

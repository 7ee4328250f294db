"""Images from memory go through a predictor and come back as what they were."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import UsageError
from medseg.inference import as_volume, back_to
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.model import read_model
from medseg.volumes import Volume, read_volume
from tests.inference.small import image, truth, write_threshold_model

AFFINE = np.array([[0, 0, 3.0, 1], [0.8, 0, 0, 2], [0, -0.9, 0, 3], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    model = read_model(write_threshold_model(tmp_path_factory.mktemp("model")))
    return Predictor(model, PredictSettings(device="cpu", precision="float32"))


def as_array():
    return image(0), AFFINE


def as_nibabel():
    return nib.Nifti1Image(image(0), AFFINE), None


def as_itk():
    array = sitk.GetImageFromArray(image(0).transpose())
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    array.SetSpacing(spacing.tolist())
    array.SetOrigin(lps[:3, 3].tolist())
    array.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return array, None


@pytest.mark.parametrize("make", [as_array, as_nibabel, as_itk])
def test_an_image_becomes_the_volume_that_its_file_would_be(make):
    given, affine = make()
    volume = as_volume(given, affine)
    np.testing.assert_array_equal(volume.array, image(0))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)


def test_the_way_through_a_file_agrees(tmp_path):
    given, _ = as_itk()
    sitk.WriteImage(given, str(tmp_path / "a.nii.gz"))
    read = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read.array, as_volume(given).array)
    np.testing.assert_allclose(read.affine, as_volume(given).affine, atol=1e-5)


@pytest.mark.parametrize("make", [as_array, as_nibabel, as_itk])
def test_its_label_map_comes_back_as_the_same_kind_in_the_same_place(make, predictor):
    given, affine = make()
    volume = predictor(as_volume(given, affine))
    found = back_to(given, volume)
    assert type(found) is type(given)
    again = as_volume(found, affine)
    np.testing.assert_array_equal(again.array, truth(0))
    np.testing.assert_allclose(again.affine, AFFINE, atol=1e-6)
    if isinstance(given, sitk.Image):
        assert found.GetDirection() == pytest.approx(given.GetDirection())
        assert found.GetOrigin() == pytest.approx(given.GetOrigin())


def test_a_volume_stays_as_it_is():
    volume = Volume(image(0), AFFINE)
    assert as_volume(volume) is volume
    assert back_to(volume, volume) is volume


@pytest.mark.parametrize(
    ("given", "affine", "reason"),
    [
        (image(0), None, "give its 'affine'"),
        (image(0)[0], AFFINE, "3D image"),
        (image(0)[:0], AFFINE, "expected real numbers, got int16 of shape"),
        (image(0).astype(np.complex64), AFFINE, "expected real numbers, got complex64"),
        (np.where(image(0) == 7, np.nan, image(0)), AFFINE, "finite voxels"),
        (image(0), np.eye(3), "shape .4, 4."),
        (image(0), np.zeros((4, 4)), "can be inverted"),
        (image(0), np.full((4, 4), np.nan), "can be inverted"),
        (nib.Nifti1Image(image(0), AFFINE), AFFINE, "an affine of its own"),
        ([[1]], AFFINE, "got list"),
        ("ct.nii.gz", None, "got str"),
    ],
)
def test_what_has_no_place_is_refused(given, affine, reason):
    with pytest.raises(UsageError, match=reason):
        as_volume(given, affine)

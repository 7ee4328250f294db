from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.inference.label_map import Run, label_map_of
from medseg.inference.native import same_grid
from medseg.inference.predictor import predict_volume
from medseg.inference.prepared import PreparedSlices
from medseg.inference.slab import classes_of
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing, prepare_image
from medseg.model import LoadedModel, ModelSpec
from medseg.volumes import Header, Volume
from tests.inference.whole_volume import (
    Wavy,
    random_volume,
    whole_volume_labels,
    whole_volume_scores,
)

SPACINGS = [None, (1.5, 1.5, 3.0), (None, None, 1.1), (2.0, 0.9, None), (0.7, 1.3, 5.0)]


def _spec(seed, classes=5):
    geometries = [
        SliceGeometry((20, 24)),
        SliceGeometry((32, 32), zoom=1.0, neighbours=1),
        SliceGeometry((28, 18), zoom=1.4, neighbours=2),
    ]
    values = {"window": (-150.0, 200.0)} if seed % 2 else {"percentiles": (1.0, 99.0)}
    return ModelSpec(
        network={"_target_": "torch.nn.Conv2d"},
        labels={f"organ{index}": 3 * index for index in range(1, classes)},
        preprocessing=Preprocessing(spacing=SPACINGS[seed % len(SPACINGS)], **values),
        geometry=geometries[seed % len(geometries)],
    )


def _header(volume):
    return Header(volume.array.shape, volume.affine, volume.array.dtype)


@pytest.mark.parametrize("seed", range(20))
def test_labels_equal_those_of_the_whole_volume_way_on_random_geometries(seed):
    volume, spec = random_volume(seed), _spec(seed)
    network = Wavy(spec.geometry.channels, len(spec.labels) + 1, seed)
    expected = whole_volume_labels(spec, network, volume)
    assert len(np.unique(expected)) > 1
    images = PreparedSlices(volume, spec.preprocessing)
    for run in (Run(), Run(batch_size=3, slab_bytes=20_000), Run(batch_size=1, slab_bytes=1)):
        found = label_map_of(spec, images, _header(volume), network, run)
        np.testing.assert_array_equal(found.array, expected)
        np.testing.assert_array_equal(found.affine, volume.affine)
        assert found.array.dtype == np.uint8


def test_the_random_geometries_are_both_resampled_and_not():
    resampled = 0
    for seed in range(20):
        volume, spec = random_volume(seed), _spec(seed)
        prepared = prepare_image(volume, spec.preprocessing)
        resampled += not same_grid(prepared.affine, prepared.array.shape, _header(volume))
    assert 10 <= resampled <= 17


@pytest.mark.parametrize("seed", range(8))
def test_slices_made_one_by_one_are_those_of_the_prepared_volume(seed):
    volume, spec = random_volume(seed), _spec(seed)
    prepared = prepare_image(volume, spec.preprocessing)
    images = PreparedSlices(volume, spec.preprocessing)
    whole = prepared.array.transpose(2, 0, 1)
    assert images.shape == whole.shape
    np.testing.assert_allclose(images.affine, prepared.affine, atol=1e-9)
    exact = spec.preprocessing.spacing is None
    for wanted in (np.arange(len(images)), np.array([[0, 1, 1], [2, 2, 0]])):
        found = images[wanted]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, whole[wanted], atol=0 if exact else 2e-5)


def test_a_binary_network_is_resampled_by_slab_too():
    volume, spec = random_volume(4), _spec(4, classes=2)
    network = Wavy(spec.geometry.channels, 1, 3)
    expected = whole_volume_labels(spec, network, volume)
    assert set(np.unique(expected)) == {0, 3}
    found = predict_volume(LoadedModel(spec, network.eval(), {}), volume, batch_size=2)
    np.testing.assert_array_equal(found.array, expected)


def test_sheared_grids_are_resampled_as_a_whole():
    volume, spec = random_volume(1), _spec(1)
    shear = np.eye(4)
    shear[1, 2] = 0.3
    volume = Volume(volume.array, shear @ volume.affine)
    network = Wavy(spec.geometry.channels)
    found = predict_volume(LoadedModel(spec, network.eval(), {}), volume)
    assert np.mean(found.array == whole_volume_labels(spec, network, volume)) > 0.999


def test_groups_of_classes_change_no_label_and_the_first_of_equals_wins():
    scores = torch.randn(2, 11, 6, 5, generator=torch.Generator().manual_seed(0))
    scores[:, 7] = scores[:, 2] = 9.0
    scores[0, 0] = 9.0
    expected = classes_of(scores, lambda part: part, 11)
    for group in (1, 2, 4, 10):
        assert classes_of(scores, lambda part: part, group).equal(expected)
    assert (expected[0] == 0).all()
    assert (expected[1] == 2).all()


def test_more_organs_than_a_byte_can_tell_apart_keep_their_values():
    spec = replace(_spec(0), labels={f"organ{index}": index for index in range(1, 301)})
    network = Wavy(1, 301, 2)
    volume = random_volume(0)
    found = predict_volume(LoadedModel(spec, network.eval(), {}), volume)
    assert found.array.dtype == np.uint16
    assert found.array.max() > 255
    np.testing.assert_array_equal(found.array, whole_volume_labels(spec, network, volume))


@pytest.mark.parametrize("seed", range(8))
def test_probabilities_are_those_of_the_whole_volume_on_the_files_axes(seed, tmp_path):
    volume, spec = random_volume(seed), _spec(seed)
    network = Wavy(spec.geometry.channels, 5, seed)
    expected = torch.from_numpy(whole_volume_scores(spec, network, volume)).softmax(0).numpy()
    images = PreparedSlices(volume, spec.preprocessing)
    path = tmp_path / "p.npy"
    run = Run(batch_size=3, slab_bytes=9_000)
    labels = label_map_of(spec, images, _header(volume), network, run, path)
    found = np.load(path, mmap_mode="r")
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(labels.array, whole_volume_labels(spec, network, volume))
    assert [one.name for one in tmp_path.iterdir()] == ["p.npy"]


def test_probabilities_of_a_binary_network_have_background_first(tmp_path):
    volume, spec = random_volume(4), _spec(4, classes=2)
    network = Wavy(spec.geometry.channels, 1, 3)
    images = PreparedSlices(volume, spec.preprocessing)
    found = label_map_of(spec, images, _header(volume), network, Run(), tmp_path / "p.npy")
    probabilities = np.load(tmp_path / "p.npy").astype(float)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-3)
    clear = np.abs(probabilities[1] - 0.5) > 1e-3
    np.testing.assert_array_equal((found.array > 0)[clear], (probabilities[1] > 0.5)[clear])


def test_probabilities_are_refused_where_they_cannot_be_given(tmp_path):
    volume, spec = random_volume(1), _spec(1)
    network, native = Wavy(spec.geometry.channels), _header(volume)
    images = PreparedSlices(volume, spec.preprocessing)
    with pytest.raises(UsageError, match=r"written as \.npy"):
        label_map_of(spec, images, native, network, Run(), tmp_path / "p.nii.gz")
    shear = np.eye(4)
    shear[1, 2] = 0.3
    volume = Volume(volume.array, shear @ volume.affine)
    images = PreparedSlices(volume, spec.preprocessing)
    with pytest.raises(UsageError, match="sheared"):
        label_map_of(spec, images, _header(volume), network, Run(), tmp_path / "p.npy")
    assert not list(tmp_path.iterdir())

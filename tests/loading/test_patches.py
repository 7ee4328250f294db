import collections
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import InputError, UsageError
from medseg.loading.geometry import PatchGeometry
from medseg.loading.patches import PatchDataset, PatchSampler, patch_loader, patch_train_loader
from medseg.loading.volume_augmentation import VolumeAugmentation
from tests.loading.making import LABELS, WINDOW, store_case, write_case

STILL = VolumeAugmentation(
    spatial_probability=0.0, elastic_probability=0.0, intensity_probability=0.0
)


def random_case(folder, shape, case_id="one"):
    rng = np.random.default_rng(len(case_id))
    label = rng.integers(0, 3, shape).astype(np.uint8)
    return store_case(folder, rng.random(shape), label, case_id)


def in_xyz(stored):
    return stored.images.transpose(1, 2, 0), stored.classes.transpose(1, 2, 0)


@settings(max_examples=25)
@given(draw=st.integers(0, 10**6), wanted=st.integers(0, 2))
def test_a_patch_is_a_part_of_the_stored_volume(tmp_path_factory, draw, wanted):
    stored = random_case(tmp_path_factory.mktemp("case"), (9, 7, 8))
    item = PatchDataset([stored], PatchGeometry((4, 5, 3)))[0, wanted, draw]
    image, label = in_xyz(stored)
    windows = np.lib.stride_tricks.sliding_window_view(image, (4, 5, 3))
    found = np.argwhere((windows == item["image"][0].numpy()).all(axis=(3, 4, 5)))
    assert len(found) == 1
    x, y, z = found[0]
    np.testing.assert_array_equal(item["label"], label[x : x + 4, y : y + 5, z : z + 3])
    assert wanted == 0 or (item["label"] == wanted).any()


def test_a_small_volume_is_padded_with_zeros_at_the_end(tmp_path):
    stored = random_case(tmp_path, (4, 5, 3))
    item = PatchDataset([stored], PatchGeometry((6, 5, 8)))[0, 1, 3]
    image, label = in_xyz(stored)
    np.testing.assert_array_equal(item["image"][0, :4, :5, :3], image)
    np.testing.assert_array_equal(item["label"][:4, :5, :3], label)
    assert item["image"][0, 4:].sum() == item["image"][0, :, :, 3:].sum() == 0
    assert item["image"].dtype == torch.float32
    assert item["label"].dtype == torch.int64


def test_a_warp_that_moves_nothing_shows_the_stored_voxels(tmp_path):
    stored = random_case(tmp_path, (9, 7, 8))
    geometry = PatchGeometry((4, 5, 3))
    for draw in range(5):
        plain = PatchDataset([stored], geometry)[0, 2, draw]
        warped = PatchDataset([stored], geometry, augment=STILL)[0, 2, draw]
        torch.testing.assert_close(warped["image"], plain["image"], atol=1e-5, rtol=0)
        assert torch.equal(warped["label"], plain["label"])


def test_the_label_follows_the_image_under_every_change_of_place(tmp_path):
    label = np.zeros((24, 20, 16), dtype=np.uint8)
    label[6:14, 8:15, 3:9] = 1
    stored = store_case(tmp_path, label.astype(float), label)
    change = VolumeAugmentation(
        flip_axes=(0, 1, 2), rotation_degrees=40, spatial_probability=1.0,
        elastic_probability=1.0, intensity_probability=0.0,
    )  # fmt: skip
    dataset = PatchDataset([stored], PatchGeometry((20, 20, 16)), augment=change, seed=1)
    for draw in range(10):
        item = dataset[0, 1, draw]
        away = (item["image"][0] - 0.5).abs() > 0.3  # not where the border is blurred
        assert away.float().mean() > 0.8
        assert torch.equal((item["image"][0] > 0.5)[away], (item["label"] == 1)[away])


def test_the_share_of_patches_by_class_shows_rare_organs_as_often_as_large_ones(tmp_path):
    large = np.ones((8, 8, 8), dtype=np.uint8)
    rare = np.zeros((8, 8, 8), dtype=np.uint8)
    rare[7, 0, 7] = 2
    stored = [
        store_case(tmp_path, image / 2, image, name)
        for name, image in (("large", large), ("rare", rare))
    ]
    sampler = PatchSampler(stored, draws=4000, foreground=0.5, seed=2)
    counted = collections.Counter((case, wanted) for case, wanted, _ in sampler)
    assert set(counted) == {(0, 0), (1, 0), (0, 1), (1, 2)}
    assert counted[0, 1] == pytest.approx(1000, abs=120)
    assert counted[1, 2] == pytest.approx(1000, abs=120)
    shown = PatchDataset(stored, PatchGeometry((3, 3, 3)))[1, 2, 5]
    assert (shown["label"] == 2).sum() == 1


def test_batches_are_the_same_for_any_number_of_workers_and_differ_by_epoch(tmp_path):
    stored = [random_case(tmp_path, (12, 10, 9), name) for name in ("a", "bb")]
    batches = {}
    for workers in (0, 2):
        loader = patch_loader(
            stored, PatchGeometry((8, 8, 6)), batch_size=2, batches_per_epoch=3,
            augment=VolumeAugmentation(), seed=5, workers=workers,
        )  # fmt: skip
        for epoch in (1, 2):
            loader.sampler.set_epoch(epoch)
            batches[workers, epoch] = list(loader)
    torch.testing.assert_close(batches[2, 1], batches[0, 1], rtol=0, atol=0)
    torch.testing.assert_close(batches[2, 2], batches[0, 2], rtol=0, atol=0)
    assert not torch.equal(batches[0, 1][0]["image"], batches[0, 2][0]["image"])
    assert batches[0, 1][0]["image"].shape == (2, 1, 8, 8, 6)


def test_a_patch_beside_the_volume_is_empty(tmp_path):
    stored = random_case(tmp_path, (4, 4, 4))
    far = VolumeAugmentation(translate=30.0, spatial_probability=1.0, intensity_probability=0.0)
    dataset = PatchDataset([stored], PatchGeometry((4, 4, 4)), augment=far)
    items = [dataset[0, 0, draw] for draw in range(20)]
    assert any(item["label"].sum() == 0 and item["image"].abs().sum() == 0 for item in items)


def test_a_case_pruned_from_the_store_is_named(tmp_path):
    stored = random_case(tmp_path, (4, 4, 4))
    shutil.rmtree(stored.folder)
    with pytest.raises(InputError, match="pruned"):
        PatchDataset([stored], PatchGeometry((2, 2, 2)))[0, 0, 0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch_size": 0}, "batches of patches"),
        ({"foreground": 1.5}, "foreground"),
        ({"augment": {"turn": 3}}, "augment"),
        ({"augment": {"scale": [0, 1]}}, "scale"),
        ({"augment": {"flip_axes": [3]}}, "flip_axes"),
        ({"augment": {"stretch": 1.0}}, "stretch"),
        ({"augment": {"coarsen": 0.5}}, "coarsen"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, changed, said):
    stored = [random_case(tmp_path, (4, 4, 4))]
    arguments = {"batch_size": 1, "batches_per_epoch": 1} | changed
    with pytest.raises(UsageError, match=said):
        patch_loader(stored, PatchGeometry((2, 2, 2)), **arguments)


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 0)])
def test_a_patch_has_three_positive_sides(size):
    with pytest.raises(UsageError, match="patch_size"):
        PatchGeometry(size)


def test_cases_without_label_are_refused_for_training(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    case = write_case(tmp_path)
    bare = type(case)(case.case_id, case.image, None, LABELS)
    with pytest.raises(UsageError, match="need labels"):
        patch_train_loader(
            [bare], LABELS, WINDOW, PatchGeometry((4, 4, 4)), batch_size=1, batches_per_epoch=1
        )

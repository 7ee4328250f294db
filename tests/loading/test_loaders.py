import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.loading.augmentation import Augmentation
from medseg.loading.geometry import SliceGeometry
from medseg.loading.loaders import slice_loader, train_loader
from tests.loading.making import LABELS, WINDOW, store_case, write_case

GEOMETRY = SliceGeometry((16, 16), neighbours=1)


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(0)
    return [
        store_case(tmp_path, rng.random(shape), rng.integers(0, 3, shape).astype(np.uint8), name)
        for name, shape in (("a", (20, 18, 5)), ("b", (16, 22, 6)))
    ]


def batches_of(loader, epochs=(1, 2)):
    batches = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def test_batches_are_the_same_for_any_number_of_workers(stored):
    none, two = (
        slice_loader(
            stored, GEOMETRY, batch_size=3, batches_per_epoch=4, augment=Augmentation(),
            seed=5, workers=workers,
        )
        for workers in (0, 2)
    )  # fmt: skip
    expected = batches_of(none)
    torch.testing.assert_close(batches_of(two), expected, rtol=0, atol=0)
    assert expected[0]["image"].shape == (3, 3, 16, 16)
    assert expected[0]["label"].shape == (3, 16, 16)


def test_an_epoch_can_be_repeated_alone_and_differs_from_the_others(stored):
    def loader():
        return slice_loader(stored, GEOMETRY, batch_size=4, augment=Augmentation(), seed=5)

    run = batches_of(loader(), epochs=(1, 2, 3))
    torch.testing.assert_close(batches_of(loader(), epochs=(3,)), run[6:], rtol=0, atol=0)
    assert not torch.equal(run[0]["image"], run[3]["image"])


def test_without_batches_per_epoch_every_slice_comes_once(stored):
    loader = slice_loader(stored, SliceGeometry((16, 16)), batch_size=4)
    assert [len(batch["image"]) for batch in loader] == [4, 4, 3]
    everything = torch.cat([batch["image"] for batch in loader]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 11


def test_loading_leaves_the_random_numbers_of_torch_untouched(stored):
    loader = slice_loader(stored, GEOMETRY, batch_size=4, augment=Augmentation())
    torch.manual_seed(0)
    list(loader)
    after = torch.rand(3)
    torch.manual_seed(0)
    torch.testing.assert_close(torch.rand(3), after)


def test_cases_are_opened_in_the_store_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "store"))
    loader = train_loader(
        [write_case(tmp_path)], LABELS, WINDOW, SliceGeometry((8, 8)),
        batch_size=2, batches_per_epoch=3, augment={"rotation_degrees": 10.0, "scale": [0.9, 1.1]},
    )  # fmt: skip
    assert [batch["image"].shape for batch in loader] == [(2, 1, 8, 8)] * 3
    assert loader.dataset.augment == Augmentation(rotation_degrees=10.0, scale=(0.9, 1.1))
    assert (tmp_path / "store" / "cases").is_dir()


def test_senseless_numbers_are_refused(stored):
    with pytest.raises(UsageError, match="batches"):
        slice_loader(stored, GEOMETRY, batch_size=0)
    with pytest.raises(UsageError, match="rotate"):
        slice_loader(stored, GEOMETRY, batch_size=1, augment={"rotate": 3})

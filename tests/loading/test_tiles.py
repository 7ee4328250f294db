import numpy as np
import pytest
import torch
from torch import nn

from medseg.case import Case
from medseg.errors import InputError, UsageError
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.sky import normalise
from medseg.loading.tiles import IGNORED, TileDataset, TiledExposure, open_tiles, tile_loader
from medseg.losses import BCEDiceLoss
from medseg.training.validation import Validation, validate

SKY = Preprocessing(sky=(-10, 10_000))
GEOMETRY = SliceGeometry((16, 16), zoom=1.0)


def exposure(shape=(20, 40), seed=0):
    rng = np.random.default_rng(seed)
    known = rng.choice([0, 1, IGNORED], shape, p=[0.8, 0.1, 0.1]).astype(np.uint8)
    return TiledExposure("a", rng.normal(size=shape).astype(np.float32), known, (16, 16))


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in (("a", (16, 16)), ("b", (20, 40))):
        image, mask = rng.normal(100, 5, shape), rng.random(shape) < 0.1
        ignore = rng.random(shape) < 0.1
        image[mask] += 200
        np.save(tmp_path / f"{name}.npy", np.stack([image, mask, ignore]).astype(np.float32))
    np.save(tmp_path / "sky.npy", [100.0, 101.0])
    return [Case(n, tmp_path / f"{n}.npy", tmp_path / f"{n}.npy", {"cosmic ray": 1}) for n in "ab"]


def test_tiles_put_together_are_the_exposure_and_what_lies_beyond_is_ignored():
    whole = exposure()
    assert len(whole) == 2 * 3
    signal, known = np.zeros((32, 48)), np.zeros((32, 48))
    for index in range(6):
        row, column = 16 * (index // 3), 16 * (index % 3)
        part = (slice(row, row + 16), slice(column, column + 16))
        signal[part], known[part] = whole.cut(index)
    np.testing.assert_array_equal(signal[:20, :40], whole.signal)
    np.testing.assert_array_equal(known[:20, :40], whole.known)
    known[:20, :40] = IGNORED
    assert (known == IGNORED).all()
    signal[:20, :40] = 0
    assert (signal == 0).all()


def test_an_item_is_the_normalised_exposure_with_its_label(cases):
    first = TileDataset(open_tiles(cases, SKY, GEOMETRY))[0]
    image, mask, ignore = np.load(cases[0].image)
    noise = 1.4826 * np.median(np.abs(image[ignore == 0] - 100))
    np.testing.assert_allclose(first["image"][0], normalise(image, 100, noise), atol=1e-5)
    np.testing.assert_array_equal(first["label"], np.where(ignore, 255, mask))
    assert first["image"].dtype == torch.float32
    assert first["label"].dtype == torch.int64


def test_a_draw_decides_everything_and_draws_differ():
    one, other = (TileDataset([exposure()], sky_levels=(0, 3), seed=5) for _ in range(2))
    for index, draw in ((0, 7), (3, 8)):
        for key in ("image", "label"):
            assert torch.equal(one[index, draw][key], other[index, draw][key])
    assert not torch.equal(one[0, 7]["image"], one[0, 9]["image"])
    changed = TileDataset([exposure()], sky_levels=(0, 3), seed=6)
    assert not torch.equal(one[0, 7]["image"], changed[0, 7]["image"])
    assert torch.equal(one[0]["image"], changed[0]["image"])


def test_image_and_label_are_turned_alike_into_eight_ways():
    whole = exposure((16, 16))
    marked = TiledExposure("a", whole.known.astype(np.float32), whole.known, (16, 16))
    dataset = TileDataset([marked])
    ways = set()
    for draw in range(80):
        item = dataset[0, draw]
        expected = normalise(item["label"].numpy(), 0, 1)
        np.testing.assert_allclose(item["image"][0], expected, atol=1e-6)
        ways.add(item["label"].numpy().tobytes())
    assert len(ways) == 8


def test_added_light_brings_its_noise_and_makes_signals_fainter():
    flat = np.zeros((16, 16), dtype=np.float32)
    flat[:8] = 30.0
    whole = TiledExposure("a", flat, np.zeros((16, 16), np.uint8), (16, 16))
    dataset = TileDataset([whole], sky_levels=(3, 3), turn=False)
    low, high = np.arcsinh((-10, 10_000))
    drawn = [
        np.sinh(dataset[0, draw]["image"][0].numpy() * (high - low) + low) for draw in range(9)
    ]
    assert np.mean([signal[:8].mean() for signal in drawn]) == pytest.approx(15, abs=0.1)
    # noise of variance 3 in units where the old one is 1, then divided by 2
    assert np.std([signal[8:] for signal in drawn]) == pytest.approx(np.sqrt(3) / 2, rel=0.05)


def test_the_loader_shows_every_tile_once_and_depends_on_the_epoch_alone(cases):
    def epoch(number, workers=0):
        loader = tile_loader(cases, SKY, GEOMETRY, batch_size=3, sky_levels=[0, 2], workers=workers)
        loader.sampler.set_epoch(number)
        return list(loader)

    first, again, second = epoch(1), epoch(1), epoch(2)
    assert [len(batch["label"]) for batch in first] == [3, 3, 1]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0]["image"], second[0]["image"])
    counts = [int((batch["label"] == 1).sum()) for batch in first]
    assert sum(counts) == sum(int((e.known == 1).sum()) for e in open_tiles(cases, SKY, GEOMETRY))


@pytest.mark.slow
def test_workers_do_not_change_the_batches(cases):
    def batches(workers):
        return list(tile_loader(cases, SKY, GEOMETRY, batch_size=3, seed=1, workers=workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])


class Bright(nn.Module):
    """A cosmic ray from 0.5 on."""

    def forward(self, image):
        return 20 * (image - 0.5)


def test_validation_leaves_ignored_pixels_out(cases):
    tiles = open_tiles(cases, SKY, GEOMETRY)
    validation = Validation(tiles, {"cosmic ray": 1}, GEOMETRY)
    loss = BCEDiceLoss(ignore_index=IGNORED)
    scores = validate(Bright(), loss, validation, device=torch.device("cpu"))
    assert scores.dsc == {"cosmic ray": 1.0}
    assert np.isfinite(scores.loss)
    wrong = [TiledExposure(t.case_id, np.where(t.known == 255, 1e4, t.signal).astype(np.float32),
                           t.known, t.tile) for t in tiles]  # fmt: skip
    again = validate(Bright(), loss, Validation(wrong, {"cosmic ray": 1}, GEOMETRY),
                     device=torch.device("cpu"))  # fmt: skip
    assert again.loss == pytest.approx(scores.loss)
    assert again.dsc == scores.dsc


def test_what_does_not_fit_is_refused(cases, tmp_path):
    with pytest.raises(UsageError, match=r"sky: \[low, high\]"):
        open_tiles(cases, Preprocessing(window=(0, 1)), GEOMETRY)
    with pytest.raises(UsageError, match="sky_levels must be"):
        TileDataset([exposure()], sky_levels=(-0.9, 3))
    with pytest.raises(UsageError, match="batch_size"):
        tile_loader(cases, SKY, GEOMETRY, batch_size=0)
    np.save(tmp_path / "bare.npy", np.zeros((4, 4)))
    (tmp_path / "sky.npy").unlink()
    with pytest.raises(InputError, match="with a mask"):
        open_tiles([Case("bare", tmp_path / "bare.npy")], SKY, GEOMETRY)
    with pytest.raises(IndexError, match="tile 6 of 6"):
        TileDataset([exposure()])[6]

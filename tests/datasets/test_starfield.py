import numpy as np
import pytest
from scipy.ndimage import label as connected

from medseg.datasets import decam, starfield
from medseg.datasets._starfield.detector import make
from medseg.datasets._starfield.hits import _spread
from medseg.datasets._starfield.light import FULL_WELL, Seeing, _add_star
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.metrics import tpr_at_fpr
from medseg.volumes.exposure import exposure_of

COUNTS = {"train": 2, "val": 1, "test": 1}
SIZE = 48


@pytest.fixture(scope="module")
def made():
    return [make(0, index, 256) for index in range(8)]


def _content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.npy")}


def test_an_exposure_depends_on_seed_and_index_alone(made):
    again = starfield.make_exposure(0, 3)
    np.testing.assert_array_equal(again.image, made[3].exposure.image)
    assert (starfield.make_exposure(1, 3).image != again.image).any()
    assert (starfield.make_exposure(0, 4).image != again.image).any()


def test_the_mask_is_where_hits_left_three_standard_deviations(made):
    for one in made:
        in_noise = one.deposit / one.noise
        np.testing.assert_array_equal(one.exposure.mask, in_noise >= 3)
        assert one.exposure.ignore[(in_noise >= 0.3) & (in_noise < 3)].all()
        assert one.exposure.ignore[in_noise < 0.3].mean() < 0.01
        assert connected(one.exposure.mask, np.ones((3, 3)))[1] >= 3


def test_sky_and_noise_are_what_is_measured(made):
    for one in made:
        image = one.exposure.image[~one.exposure.ignore]
        assert np.median(image) == pytest.approx(one.exposure.sky, abs=one.noise)
        assert one.exposure.noise == pytest.approx(one.noise, rel=0.35)  # crowded fields have more


def test_what_cannot_be_trusted_is_ignored(made):
    for one in made:
        saturated = one.exposure.image > FULL_WELL - 1000
        assert one.exposure.ignore[saturated].all()
        assert 0 < one.exposure.ignore.mean() < 0.02


def test_hits_are_sharper_than_stars_and_no_threshold_tells_them_apart(made):
    scores, label, ignore = (
        np.stack([getattr(one.exposure, name) for one in made])
        for name in ("image", "mask", "ignore")
    )
    noise, sky = (np.array([getattr(e, n) for e in (m.exposure for m in made)])[:, None, None]
                  for n in ("noise", "sky"))  # fmt: skip
    scores = (scores - sky) / noise
    assert tpr_at_fpr(scores, label, 1e-4, ignore=ignore) < 0.2
    # the ceiling: the same hits and noise, with every star taken away
    rng = np.random.default_rng(0)
    alone = np.stack([one.deposit / one.noise for one in made])
    alone += rng.standard_normal(alone.shape)
    assert tpr_at_fpr(alone, label, 1e-4, ignore=ignore) > 0.9


def test_a_hit_keeps_its_electrons_and_its_pixels():
    deposit = np.zeros((5, 5))
    _spread(deposit, np.array([[2.0, 1.0], [1.25, 3.5]]), np.array([100.0, 80.0]))
    assert deposit.sum() == 180
    assert deposit[2, 1] == 100
    np.testing.assert_allclose(deposit[1:3, 3:5], [[30, 30], [10, 10]])


def test_a_star_keeps_its_electrons_and_its_width():
    light = np.zeros((101, 101))
    _add_star(light, np.array([50.0, 50.0]), 1e6, Seeing(4.0, 4.0, 1.0, 0.0))
    assert light.sum() == pytest.approx(1e6, rel=0.01)
    assert light[50, 52] == pytest.approx(light[50, 50] / 2, rel=0.1)  # half of the width of 4


def test_a_written_data_set_is_read_back(tmp_path):
    root = starfield.write(tmp_path / "stars", counts=COUNTS, size=SIZE)
    for split, count in COUNTS.items():
        cases = decam.cases(root, split=split)
        assert len(cases) == count
        assert np.load(root / split / "sky.npy").shape == (count,)
        for number, case in enumerate(cases):
            wanted = starfield.make_exposure(0, starfield.FIRST_INDEX[split] + number, SIZE)
            found = exposure_of(case)
            np.testing.assert_array_equal(found.image, wanted.image)
            np.testing.assert_array_equal(found.mask, wanted.mask)
            np.testing.assert_array_equal(found.ignore, wanted.ignore)
            assert found.sky == wanted.sky
    array = np.load(root / "train" / "starfield_train_00000.npy")
    assert (array.shape, array.dtype) == ((3, SIZE, SIZE), np.float32)


def test_writing_again_keeps_mends_and_grows(tmp_path):
    root = starfield.write(tmp_path / "a", counts=COUNTS, size=SIZE)
    before = _content(root)
    first = root / "train" / "starfield_train_00000.npy"
    first.write_bytes(b"damaged")
    (root / "val" / "starfield_val_00000.npy").unlink()
    kept = root / "train" / "starfield_train_00001.npy"
    time = kept.stat().st_mtime_ns
    starfield.write(root, counts=COUNTS, size=SIZE)
    assert _content(root) == before
    assert kept.stat().st_mtime_ns == time
    starfield.write(root, counts=COUNTS | {"train": 3}, size=SIZE)
    grown = starfield.write(tmp_path / "b", counts=COUNTS | {"train": 3}, size=SIZE)
    assert _content(root) == _content(grown)
    assert read_json(root / "splits.json") == read_json(grown / "splits.json")


@pytest.mark.slow
def test_workers_do_not_change_the_result(tmp_path):
    one = starfield.write(tmp_path / "one", counts=COUNTS, size=SIZE)
    two = starfield.write(tmp_path / "two", counts=COUNTS, size=SIZE, workers=2)
    assert _content(one) == _content(two)


def test_other_data_and_other_settings_are_refused(tmp_path):
    root = starfield.write(tmp_path / "stars", counts=COUNTS, size=SIZE)
    with pytest.raises(InputError, match="made with"):
        starfield.write(root, counts=COUNTS, size=SIZE, seed=1)
    with pytest.raises(InputError, match="also starfield_train_00001"):
        starfield.write(root, counts=COUNTS | {"train": 1}, size=SIZE)
    starfield.write(root, counts=COUNTS | {"train": 1}, size=SIZE, seed=1, overwrite=True)
    assert len(_content(root)) == 3 + 3  # three exposures, three sky.npy
    (tmp_path / "other" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="other data"):
        starfield.write(tmp_path / "other")
    with pytest.raises(UsageError, match="exposures of train"):
        starfield.write(root, counts={"training": 1})
    with pytest.raises(UsageError, match="16 pixels"):
        starfield.make_exposure(0, 0, 8)

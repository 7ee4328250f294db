import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import label as connected

from medseg.datasets import decam
from medseg.errors import InputError, UsageError
from medseg.files import write_json
from medseg.volumes.exposure import exposure_of
from tests.shared import SHARED, needs_shared


def _npy(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.zeros((3, 4, 4), dtype=np.float32))


def _fits(folder, exposure, detector, quality=True):
    folder.mkdir(parents=True, exist_ok=True)
    for mark in ("ooi", "ood") if quality else ("ooi",):
        unit = fits.ImageHDU(np.zeros((4, 4), dtype=np.int32))
        unit.writeto(folder / f"{exposure}_{mark}_r.{detector}.fits")


def _ids(found):
    return [case.case_id for case in found]


def test_folders_named_after_splits_are_the_splits(tmp_path):
    for name in ("train/a", "train/b", "val/c", "test/d"):
        _npy(tmp_path / f"{name}.npy")
    np.save(tmp_path / "train" / "sky.npy", [1.0, 2.0])
    assert _ids(decam.cases(tmp_path)) == ["a", "b"]
    assert _ids(decam.cases(tmp_path, split="val")) == ["c"]
    assert _ids(decam.cases(tmp_path, split="all")) == ["a", "b", "c", "d"]
    case = decam.cases(tmp_path, split="test")[0]
    assert case.image == case.label == tmp_path / "test" / "d.npy"
    assert case.labels == {"cosmic ray": 1}
    with pytest.raises(UsageError, match="no split 'fold'"):
        decam.cases(tmp_path, split="fold")


def test_a_split_file_goes_before_folders(tmp_path):
    for name in ("train/a", "train/b", "train/c"):
        _npy(tmp_path / f"{name}.npy")
    write_json(tmp_path / "splits.json", {"train": ["c"], "val": ["a"]})
    assert _ids(decam.cases(tmp_path)) == ["c"]
    assert _ids(decam.cases(tmp_path, split="all")) == ["c", "a", "b"]


def test_names_that_repeat_in_several_folders_are_told_apart(tmp_path):
    for name in ("train/0", "val/0", "test/0"):
        _npy(tmp_path / f"{name}.npy")
    assert _ids(decam.cases(tmp_path, split="all")) == ["train_0", "val_0", "test_0"]


def test_detectors_of_one_exposure_stay_in_one_fold(tmp_path):
    for number in range(6):
        for detector in ("N1", "S2"):
            _fits(tmp_path, f"c4d_17031{number}_062107", detector)
    splits = {name: decam.cases(tmp_path, split=name) for name in ("train", "val", "test")}
    exposures = [{case.patient for case in found} for found in splits.values()]
    assert sum(map(len, splits.values())) == 12
    assert sum(map(len, exposures)) == len(set.union(*exposures)) == 6
    case = splits["test"][0]
    assert case.label.name == case.image.name.replace("ooi", "ood")
    assert case.labels == {"cosmic ray": 5}
    assert decam.cases(tmp_path, split="all", code=16)[0].labels == {"cosmic ray": 16}


def test_an_image_without_its_map_is_named(tmp_path):
    _fits(tmp_path, "c4d_1_2", "N1", quality=False)
    with pytest.raises(InputError, match=r"c4d_1_2_ooi_r\.N1\.fits \(image-without-label"):
        decam.cases(tmp_path, split="all")


def test_a_folder_without_exposures_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected exposures.*got none"):
        decam.cases(tmp_path)


@needs_shared
def test_real_exposures_are_read_and_their_two_tracks_are_in_the_masks():
    found = decam.cases(SHARED / "data" / "decam", split="all")
    exposures = {case.case_id: exposure_of(case) for case in found}
    assert len(exposures) == 12
    tracks = {}
    for case_id, exposure in exposures.items():
        assert np.isfinite(exposure.image).all()
        assert exposure.noise > 0
        assert not (exposure.mask & exposure.ignore).any()
        if exposure.mask.any():
            assert connected(exposure.mask, np.ones((3, 3)))[1] == 1
            tracks[case_id] = int(exposure.mask.sum())
            bright = (exposure.image - exposure.sky) / exposure.noise
            assert bright[exposure.mask].max() > 10
    assert sorted(tracks.values()) == [65, 177]
    assert sum(exposure.ignore.sum() for exposure in exposures.values()) > 3000

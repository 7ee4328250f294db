"""The baselines of the benchmark do what its table says of them."""

import numpy as np
import pytest

from benchmarks import decam
from medseg.datasets._starfield.detector import Made
from medseg.volumes.exposure import Exposure


@pytest.fixture(scope="module")
def exposures():
    return decam.made("test", 2, 0)


def test_a_hit_of_one_pixel_has_the_laplacian_worked_out_by_hand():
    image = np.full((9, 9), 100.0, dtype=np.float32)
    image[4, 4] += 400
    nothing = np.zeros((9, 9), dtype=bool)
    exposure = Made(Exposure(image, None, nothing, 100.0), nothing, 0.0 * image, 12.2, 3.0)
    # each quarter of the pixel has two neighbours 400 lower: 400 - 400 / 2 = 200; noise 2 sqrt(149)
    assert decam.laplacian(exposure)[4, 4] == pytest.approx(200 / (2 * np.sqrt(149)))
    assert decam.threshold(exposure)[4, 4] == 400


def test_sharpness_beats_brightness(exposures):
    by_brightness = decam.figure(exposures, decam.threshold)
    by_sharpness = decam.figure(exposures, decam.laplacian)
    assert by_brightness < 0.2 < by_sharpness


def test_lacosmic_scores_with_the_highest_sigclip(exposures, monkeypatch):
    monkeypatch.setattr(decam, "SIGCLIPS", np.array([4.0, 40.0]))
    scores = decam.lacosmic(exposures[0], objlim=2.0, sigfrac=0.5)
    assert set(np.unique(scores)) == {0, 4, 40}
    assert exposures[0].exposure.mask[scores == 40].mean() > 0.9


def test_the_table_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(decam, "SIGCLIPS", np.array([5.0]))
    monkeypatch.setattr(decam, "OBJLIMS", (2.0,))
    monkeypatch.setattr(decam, "SIGFRACS", (0.5,))
    decam.main(["--exposures", "1"])
    shown = capsys.readouterr().out
    assert "1 exposures, 65536 pixels" in shown
    assert "L.A.Cosmic, objlim 2, sigfrac 0.5" in shown

import numpy as np
import pytest

from benchmarks import slice_loading


@pytest.mark.slow
def test_the_benchmark_measures_every_path_and_the_second_opening(tmp_path):
    figures = slice_loading.measure_batches(tmp_path / "batches", 1, (64, 64, 30), turns=1)
    assert len(figures) == 4
    assert min(figures.values()) > 0
    assert slice_loading.measure_opening(tmp_path / "opening", count=2) < 1


def test_the_original_path_gives_batches_of_the_same_form(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.ones((40, 50)), label=np.full((40, 50), 3.0))
    item = slice_loading.OriginalSlices([tmp_path / "a.npz"])[0]
    assert item["image"].shape == (1, 224, 224)
    assert set(item["label"].unique().tolist()) <= {0, 3}

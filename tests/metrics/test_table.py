import numpy as np
import pytest

from medseg.metrics import METRICS, evaluate_case, keys_of
from medseg.metrics.figures import COMPUTE
from medseg.metrics.table import DEFAULT_METRICS


def test_every_metric_can_be_computed_and_nsd_once_per_tolerance():
    assert set(COMPUTE) | {"nsd"} == set(METRICS) == set(DEFAULT_METRICS)
    grid = np.ones((4, 4, 4), dtype=np.uint8)
    figures = evaluate_case(grid, grid, (1, 1, 1), {"liver": 1}, tolerances_mm=(0.5, 3))
    keys = keys_of(None, (0.5, 3))
    assert list(figures["liver"].values) == list(keys)
    assert [key for key in keys if key.startswith("nsd")] == ["nsd_0.5mm", "nsd_3mm"]
    assert keys["nsd_0.5mm"].name == "NSD at 0.5 mm"


def test_figures_that_judge_say_what_a_miss_counts():
    for metric in METRICS.values():
        assert metric.headline == (metric.worst is not None) == (metric.better != "none")
        assert (metric.worst == "diagonal") == (metric.better == "lower")


def test_what_is_unknown_is_refused_by_name():
    with pytest.raises(ValueError, match=r"metrics must be of dsc, .*got 'hd96'"):
        keys_of(["dsc", "hd96"])
    with pytest.raises(ValueError, match="tolerance_mm must be a length in mm"):
        keys_of(["nsd"], [-1.0])

"""From label maps to summary: a prediction that leaves organs out gains nothing by it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.evaluation.evaluate import score
from medseg.evaluation.pairs import Pair
from medseg.evaluation.summary import summarise
from tests.evaluation.files import save

LABELS = {"liver": 1, "spleen": 2, "aorta": 5}


def evaluated(folder, maps):
    cases = []
    for index, (pred, label) in enumerate(maps):
        files = [save(folder / f"{index}_{kind}.nii", a) for kind, a in (("p", pred), ("t", label))]
        pair = Pair(str(index), files[1], files[0], LABELS, LABELS)
        cases.append(score(pair))
    return summarise({"labels": LABELS, "cases": cases, "failures": []})


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_emptying_a_predicted_organ_that_is_there_improves_no_headline(tmp_path_factory, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("maps")
    density = rng.choice([0.02, 0.3, 0.8])
    maps = [
        [rng.choice([0, 1, 2, 5], (5, 4, 3), p=[1 - density, *[density / 3] * 3]).astype("u1")
         for _ in range(2)]
        for _ in range(2)
    ]  # fmt: skip
    emptied = [(pred.copy(), label) for pred, label in maps]
    case, value = rng.integers(2), rng.choice([1, 2, 5])
    if (emptied[case][1] == value).any():  # an organ that is not there is rightly left out
        emptied[case][0][emptied[case][0] == value] = 0
    before, after = (evaluated(folder, pairs)["mean"] for pairs in (maps, emptied))
    if before["dsc"] is None:
        assert after["dsc"] is None
        return
    assert after["dsc"] <= before["dsc"] + 1e-12
    assert after["hd95"] >= before["hd95"] - 1e-9
    assert after["hd95_directed"] >= before["hd95_directed"] - 1e-9

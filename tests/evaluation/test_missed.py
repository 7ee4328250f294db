"""From label maps to summary: a prediction that leaves organs out gains nothing by it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.evaluation.conventions import CONVENTIONS, columns_of, means_of
from medseg.evaluation.evaluate import assemble
from medseg.evaluation.pairs import Pair
from medseg.evaluation.run import Entries
from medseg.evaluation.score import Scoring, score
from medseg.evaluation.summary import means
from medseg.metrics import evaluate_case
from medseg.metrics.table import DEFAULT_METRICS, keys_of
from tests.evaluation.files import save

LABELS = {"liver": 1, "spleen": 2, "aorta": 5}


def evaluated(folder, maps):
    pairs, cases = [], {}
    for index, (pred, label) in enumerate(maps):
        files = [save(folder / f"{index}_{kind}.nii", a) for kind, a in (("p", pred), ("t", label))]
        pairs.append(Pair(str(index), files[1], files[0], LABELS, LABELS))
        cases[str(index)] = score(pairs[-1])
    return assemble(pairs, Entries(cases), Scoring())["summary"]


@settings(max_examples=40)
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


ORGANS = {"liver": 1, "spleen": 2}
METRICS = {
    key: {"unit": metric.unit, "better": metric.better, "headline": metric.headline}
    for key, metric in keys_of(DEFAULT_METRICS, (1.0, 2.0)).items()
}
BROKEN = {"transunet_hd95_vox", "medpy_hd95_mm", "monai_hd95_mm"}
SOUND = {"transunet_dice", "medpy_dc", "monai_dice", "nnunet_dice"}


def entry_of(pred, label):
    in_mm = evaluate_case(pred, label, (1.0, 1.5, 2.0), ORGANS)
    in_voxels = evaluate_case(pred, label, (1.0,) * 3, ORGANS, metrics=("hd95",))
    organs = {
        organ: {"status": figures.status}
        | dict(figures.values)
        | columns_of(list(CONVENTIONS), figures, in_voxels[organ])
        for organ, figures in in_mm.items()
    }
    organs = {
        organ: {k: v if isinstance(v, str) or np.isfinite(v) else None for k, v in entry.items()}
        for organ, entry in organs.items()
    }
    return {"organs": organs, "diagonal_mm": float(np.linalg.norm([5 * 1.0, 4 * 1.5, 3 * 2.0]))}


def pool_of_cases(rng, size):
    """Random cases, each with what it becomes when an organ it found is emptied."""
    pool = []
    while len(pool) < size:
        share = rng.choice([0.02, 0.1, 0.3, 0.8])
        chances = [1 - share, share / 2, share / 2]
        label = rng.choice([0, 1, 2], (5, 4, 3), p=chances).astype("u1")
        noise = rng.random(label.shape) < rng.choice([0.02, 0.2, 0.6])
        pred = np.where(noise, rng.choice([0, 1, 2], label.shape, p=chances), label).astype("u1")
        case = entry_of(pred, label)
        found = [organ for organ, entry in case["organs"].items() if entry["status"] == "scored"]
        emptied = [
            entry_of(np.where(pred == ORGANS[o], 0, pred).astype("u1"), label) for o in found
        ]
        pool.append((case, emptied))
    return pool


def headlines(cases):
    results = {"labels": ORGANS, "metrics": METRICS, "cases": cases}
    found = means(results)
    names = [name for name, metric in METRICS.items() if metric["headline"]]
    ours = {("mean", name): found["mean"][name] for name in names}
    for organ, figures in found["organs"].items():
        for kind in ("mean", "median"):
            ours |= {(organ, kind, name): figures[name][kind] for name in names}
    theirs = means_of(list(CONVENTIONS), results)
    columns = {key: column["mean"] for found in theirs.values() for key, column in found.items()}
    return ours, columns


def improves(lower_is_better, before, after):
    gain = before - after if lower_is_better else after - before
    return gain > 1e-9


@pytest.mark.slow
def test_in_10000_draws_removing_a_found_organ_improves_no_headline_but_published_distances():
    rng = np.random.default_rng(0)
    pool, broken = pool_of_cases(rng, 300), set()
    with_organs = [index for index, (_, emptied) in enumerate(pool) if emptied]
    for _ in range(10_000):
        others = [pool[index][0] for index in rng.integers(len(pool), size=rng.integers(4))]
        case, emptied = pool[rng.choice(with_organs)]
        before, before_theirs = headlines([case, *others])
        after, after_theirs = headlines([emptied[rng.integers(len(emptied))], *others])
        for key, value in before.items():
            assert (value is None) == (after[key] is None)
            if value is not None:
                lower = METRICS[key[-1]]["better"] == "lower"
                assert not improves(lower, value, after[key]), key
        for name, value in before_theirs.items():
            new = after_theirs[name]
            if value is not None and new is not None and improves("hd95" in name, value, new):
                broken.add(name)
    assert broken == BROKEN
    assert broken.isdisjoint(SOUND)

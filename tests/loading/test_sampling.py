from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.loading.sampling import ClassAwareSampler, ShuffledSampler


@dataclass(frozen=True)
class Counted:
    """As much of a stored case as the sampler looks at."""

    counts: np.ndarray


def two_cases() -> list[Counted]:
    """100 slices; class 1 in slices 0..59, class 2 in slice 70 alone, class 3 nowhere."""
    counts = np.zeros((100, 4), dtype=np.int64)
    counts[:, 0] = 1000
    counts[:60, 1] = 50
    counts[70, 2] = 1
    return [Counted(counts[:65]), Counted(counts[65:])]


def test_a_shuffled_epoch_shows_every_slice_once():
    sampler = ShuffledSampler(50, seed=1)
    sampler.set_epoch(1)
    first = list(sampler)
    sampler.set_epoch(2)
    second = list(sampler)
    assert sorted(index for index, _ in first) == list(range(50))
    assert [index for index, _ in first] != [index for index, _ in second]


def test_the_rarest_class_is_drawn_as_often_as_the_largest():
    sampler = ClassAwareSampler(two_cases(), draws=20000, foreground=0.5, seed=0)
    seen = Counter(index for index, _ in sampler)
    # 0.5 · 1/2 by class and 0.5 · 1/100 by chance
    assert seen[70] / 20000 == pytest.approx(0.255, abs=0.015)
    assert sum(seen[index] for index in range(60)) / 20000 == pytest.approx(0.55, abs=0.015)
    assert sum(seen[index] for index in range(80, 100)) / 20000 == pytest.approx(0.1, abs=0.01)


def test_foreground_zero_is_uniform_and_one_shows_no_empty_slice():
    uniform = Counter(i for i, _ in ClassAwareSampler(two_cases(), draws=20000, foreground=0.0))
    assert max(uniform.values()) < 280
    assert min(uniform.values()) > 130
    only = {i for i, _ in ClassAwareSampler(two_cases(), draws=5000, foreground=1.0)}
    assert only == {*range(60), 70}


def test_without_any_organ_all_draws_are_uniform():
    empty = [Counted(np.tile([100, 0, 0], (10, 1)))]
    drawn = {index for index, _ in ClassAwareSampler(empty, draws=500, foreground=1.0)}
    assert drawn == set(range(10))


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: ShuffledSampler(40, seed=seed),
        lambda seed: ClassAwareSampler(two_cases(), draws=40, seed=seed),
    ],
)
def test_order_depends_on_seed_and_epoch_alone_and_draws_never_repeat(make):
    sampler, late = make(3), make(3)
    epochs = []
    for epoch in range(1, 6):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    late.set_epoch(4)
    assert list(late) == epochs[3]
    assert list(make(4)) != epochs[0]
    assert list(make(3)) == epochs[0]
    draws = [draw for epoch in epochs for _, draw in epoch]
    assert len(set(draws)) == len(draws) == 200
    assert len(sampler) == 40


@pytest.mark.parametrize(
    "arguments", [{"draws": 0}, {"draws": 5, "foreground": 1.1}, {"draws": 5, "foreground": -0.1}]
)
def test_senseless_numbers_are_refused(arguments):
    with pytest.raises(UsageError):
        ClassAwareSampler(two_cases(), **arguments)


def test_no_cases_are_refused():
    with pytest.raises(UsageError, match="0 cases"):
        ClassAwareSampler([], draws=5)

import os

import pytest

from medseg.errors import CasesFailedError, InputError
from medseg.jobs import run_each


def _halve(number):
    if number % 2:
        raise InputError(f"{number}.nii", "an even number", str(number))
    return number // 2


def _die(number):
    if number == 2:
        os._exit(9)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_one_item_that_fails_never_stops_the_others(workers):
    outcomes = {outcome.item: outcome for outcome in run_each(_halve, [2, 3, 4], workers=workers)}
    assert outcomes[2].unwrap() == 1
    assert outcomes[4].unwrap() == 2
    with pytest.raises(InputError, match=r"3\.nii: expected an even number, got 3"):
        outcomes[3].unwrap()


def test_a_worker_that_dies_is_reported_on_its_items():
    outcomes = list(run_each(_die, [1, 2, 3, 4], workers=2))
    assert sorted(outcome.item for outcome in outcomes) == [1, 2, 3, 4]
    dead = {outcome.item: outcome.error for outcome in outcomes if outcome.error}
    assert isinstance(dead[2], CasesFailedError)


def test_an_error_that_is_ours_is_not_hidden_as_a_case():
    with pytest.raises(ZeroDivisionError):
        list(run_each(lambda item: 1 // item, [0]))

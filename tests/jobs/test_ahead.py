import threading
import time

import pytest

from medseg.errors import InputError
from medseg.jobs.ahead import in_turn, run_ahead


def _nothing_runs():
    return not [one for one in threading.enumerate() if one.name.startswith("ahead")]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_item_is_done_once(count):
    outcomes = list(run_ahead(lambda item: in_turn(lambda: item * 10), range(count), threads=3))
    assert sorted(one.item for one in outcomes) == list(range(count))
    assert all(one.unwrap() == 10 * one.item for one in outcomes)
    assert _nothing_runs()


def test_turns_are_taken_in_the_thread_that_listens_and_the_rest_is_not():
    seen = set()

    def work(_):
        seen.add(("beside", threading.current_thread() is threading.main_thread()))
        in_turn(lambda: seen.add(("turn", threading.current_thread() is threading.main_thread())))

    list(run_ahead(work, range(5), threads=2))
    assert seen == {("beside", False), ("turn", True)}


def test_outside_of_a_run_a_turn_is_a_call():
    assert in_turn(lambda: 7) == 7


@pytest.mark.parametrize("taken", [True, False])
def test_an_error_of_one_item_stops_no_other(taken):
    def fail(item):
        if item == 2:
            raise InputError("x", "a case", "none")
        return item

    def work(item):
        return in_turn(lambda: fail(item)) if taken else fail(item)

    outcomes = list(run_ahead(work, range(5), threads=2))
    assert sorted(one.item for one in outcomes) == list(range(5))
    assert [one.item for one in outcomes if one.error is not None] == [2]


@pytest.mark.parametrize("taken", [True, False])
def test_a_fault_that_is_no_items_own_is_raised(taken):
    def fail(item):
        if item == 3:
            raise KeyError("a bug")

    def work(item):
        return in_turn(lambda: fail(item)) if taken else fail(item)

    with pytest.raises(KeyError):
        list(run_ahead(work, range(9), threads=2))
    assert _nothing_runs()


def test_ctrl_c_in_a_turn_is_raised_and_the_others_give_up():
    done = []

    def work(item):
        in_turn(lambda: interrupt(item))
        done.append(item)

    def interrupt(item):
        if item == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_ahead(work, range(50), threads=3))
    assert set(done) <= {0, 2}
    assert _nothing_runs()


def test_a_caller_that_stops_listening_leaves_nothing_running():
    done = []

    def work(item):
        in_turn(lambda: None)
        done.append(item)

    stream = run_ahead(work, range(100), threads=3)
    next(stream)
    stream.close()
    assert len(done) <= 3
    assert _nothing_runs()


def test_what_stands_beside_the_turn_costs_no_time_where_the_turn_takes_longer():
    def work(_):
        time.sleep(0.03)
        in_turn(lambda: time.sleep(0.07))
        time.sleep(0.03)

    start = time.perf_counter()
    list(run_ahead(work, range(8), threads=3))
    assert time.perf_counter() - start < 0.9 * 8 * 0.13

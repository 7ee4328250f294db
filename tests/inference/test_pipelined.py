import threading
import time

import pytest

from medseg.errors import InputError
from medseg.inference.pipelined import pipelined


def _through(cases, read=None, run=None, write=None):
    return pipelined(
        read or (lambda case: case * 10),
        run or (lambda case, read: (case, read + 1)),
        write or (lambda case, ran: (case, ran)),
        cases,
    )


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_case_is_read_run_and_written_in_order(count):
    outcomes = list(_through(range(count)))
    assert [outcome.item for outcome in outcomes] == list(range(count))
    assert [outcome.unwrap() for outcome in outcomes] == [
        (case, (case, case * 10 + 1)) for case in range(count)
    ]


@pytest.mark.parametrize("stage", ["read", "run", "write"])
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_an_error_of_one_case_stops_no_other(stage, bad):
    def fail(case, *_):
        if case == bad:
            raise InputError("x", "a case", stage)
        return case

    outcomes = list(_through(range(5), **{stage: fail}))
    assert [outcome.item for outcome in outcomes] == list(range(5))
    assert [outcome.error is not None for outcome in outcomes] == [case == bad for case in range(5)]
    with pytest.raises(InputError, match=stage):
        outcomes[bad].unwrap()


def test_what_failed_to_be_read_is_neither_run_nor_written():
    seen = []

    def read(case):
        raise OSError("gone")

    outcomes = list(
        _through([1], read, lambda case, _: seen.append(case), lambda case, _: seen.append(case))
    )
    assert not seen
    assert str(outcomes[0].error) == "gone"


def test_one_case_is_read_ahead_and_no_more():
    events, lock = [], threading.Lock()

    def note(stage):
        def function(case, *_):
            with lock:
                events.append((stage, case))
            time.sleep(0.005)
            return case

        return function

    list(_through(range(6), note("read"), note("run"), note("write")))
    for case in range(6):
        before = events[: events.index(("run", case))]
        assert max(one for stage, one in before if stage == "read") <= case + 1
        assert {one for stage, one in before if stage == "write"} >= set(range(case - 1))


def test_reading_and_writing_cost_no_time_beside_a_network_that_takes_longer():
    def take(seconds):
        def function(case, *_):
            time.sleep(seconds)
            return case

        return function

    start = time.perf_counter()
    list(_through(range(8), take(0.03), take(0.04), take(0.03)))
    took = time.perf_counter() - start
    assert took < 0.9 * 8 * 0.1


def test_a_caller_that_stops_listening_leaves_nothing_running():
    seen = []
    stream = _through(range(100), write=lambda case, _: seen.append(case))
    next(stream)
    stream.close()
    written = len(seen)
    time.sleep(0.02)
    assert len(seen) == written <= 3
    assert not [one for one in threading.enumerate() if one.name.startswith(("read", "write"))]


def test_a_fault_that_is_no_cases_own_is_raised():
    def run(case, _):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        list(_through(range(3), run=run))

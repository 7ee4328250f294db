"""Items that are claimed: done once, whoever does them, and waited for."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from medseg.errors import DiskFullError, InputError, UsageError
from medseg.jobs import JobSettings, Journal, Order, join_job, run_claimed
from medseg.jobs.claims import CLAIMS, WORKERS
from medseg.jobs.journal import BEGUN, Entry
from medseg.jobs.lease import SUFFIX, lease
from tests.jobs.processes import wait_for


@pytest.fixture
def order(tmp_path):
    """Doubles a word, notes which, and fails for 'bad'."""
    done = []

    def double(word):
        done.append(word)
        if word == "bad":
            raise InputError(word, "a good word", "a bad one")
        return {"doubled": word * 2}

    made = Order(
        double, key=str, fingerprint=lambda word: f"of {word}", folder=tmp_path / ".journal",
        holds=lambda word, result: result == {"doubled": word * 2},
    )  # fmt: skip
    return made, done, Journal(tmp_path / ".journal")


def results(outcomes):
    return {one.item: one.result if one.error is None else str(one.error) for one in outcomes}


def claim_of(journal, word, **changes):
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "birth": "x", "token": "t"}
    path = journal.folder / CLAIMS / f"{journal.name(word)}{SUFFIX}"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(holder | changes))
    return path


def test_items_are_done_and_kept_and_not_done_again(order):
    made, done, journal = order
    first = results(run_claimed(made, ["a", "b"]))
    assert first == {"a": {"doubled": "aa"}, "b": {"doubled": "bb"}}
    assert results(run_claimed(made, ["a", "b", "c"])) == first | {"c": {"doubled": "cc"}}
    assert done == ["a", "b", "c"]
    assert not list((journal.folder / CLAIMS).iterdir())


def test_who_joins_late_begins_with_what_nobody_has_begun(order):
    made, done, journal = order
    journal.write("a", BEGUN)
    results(run_claimed(made, ["a", "b", "c"]))
    assert done == ["b", "c", "a"]


def test_what_no_longer_holds_is_done_again(order):
    made, done, journal = order
    journal.write("a", Entry("of a", {"doubled": "xx"}))
    journal.write("b", Entry("of another b", {"doubled": "bb"}))
    results(run_claimed(made, ["a", "b"]))
    assert done == ["a", "b"]


def test_the_item_of_another_worker_is_waited_for(order):
    made, done, journal = order
    found = {}
    thread = threading.Thread(target=lambda: found.update(results(run_claimed(made, ["a", "b"]))))
    with lease(journal.folder / CLAIMS, journal.name("a")):
        thread.start()
        wait_for(lambda: done == ["b"])
        journal.write("a", Entry("of a", {"doubled": "aa"}))
    thread.join(10)
    assert found == {"a": {"doubled": "aa"}, "b": {"doubled": "bb"}}
    assert done == ["b"]


def test_the_item_of_a_worker_that_leaves_is_taken_over(order):
    made, done, journal = order
    thread = threading.Thread(target=lambda: results(run_claimed(made, ["a", "b"])))
    with lease(journal.folder / CLAIMS, journal.name("a")):
        thread.start()
        wait_for(lambda: done == ["b"])
    thread.join(10)
    assert done == ["b", "a"]


def test_the_claim_of_a_dead_worker_counts_for_nothing(order):
    made, done, journal = order
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = claim_of(journal, "a", pid=process.pid)
    results(run_claimed(made, ["a"]))
    assert done == ["a"]
    assert not path.exists()


def test_a_failed_item_is_told_and_tried_again_next_time(order):
    made, done, _ = order
    for _ in range(2):
        found = results(run_claimed(made, ["bad", "a"]))
        assert "expected a good word" in found["bad"]
        assert found["a"] == {"doubled": "aa"}
    assert done.count("bad") == 2
    assert done.count("a") == 1


def test_an_item_that_failed_just_now_elsewhere_is_not_tried_here(order):
    made, done, journal = order
    outcomes = run_claimed(made, ["a", "bad"])
    next(outcomes)
    journal.write("bad", Entry("of bad", error="bad: elsewhere"))
    assert results(outcomes) == {"bad": "bad: elsewhere"}
    assert done == ["a"]


def test_anew_means_all_of_them_but_not_what_others_do_meanwhile(order):
    made, done, journal = order
    results(run_claimed(made, ["a", "b"]))
    again = Order(made.function, made.key, made.fingerprint, made.holds, made.folder, anew=True)
    outcomes = run_claimed(again, ["a", "b"])
    next(outcomes)
    journal.write("b", Entry("of b", {"doubled": "bb"}))
    results(outcomes)
    assert done == ["a", "b", "a"]


def test_a_full_disk_stops_everything(order):
    made, _, _ = order

    def full(word):
        raise DiskFullError(f"{word}: the disk is full")

    stopped = Order(full, made.key, made.fingerprint, made.holds, made.folder)
    with pytest.raises(DiskFullError):
        results(run_claimed(stopped, ["a", "b"]))
    assert results(run_claimed(made, ["a", "b"])).keys() == {"a", "b"}


def test_parts_take_their_share(order):
    made, done, _ = order
    results(run_claimed(made, list("abcde"), settings=JobSettings(num_parts=2, part_id=1)))
    assert done == ["b", "d"]


def test_workers_of_one_job_stand_side_by_side_and_those_of_another_are_refused(tmp_path):
    folder = tmp_path / "out" / ".journal"
    with join_job(folder, "1" * 64), join_job(folder, "1" * 64):
        with pytest.raises(UsageError, match="at work there with another model"):
            join_job(folder, "2" * 64).__enter__()
        assert len(list((folder / WORKERS).iterdir())) == 2
    with join_job(folder, "2" * 64):
        pass
    assert not list((folder / WORKERS).iterdir())


def test_a_lease_that_a_kill_left_half_written_is_nobodys(tmp_path):
    (tmp_path / WORKERS).mkdir()
    (tmp_path / WORKERS / f".tmp-0123abcd-another{SUFFIX}").touch()
    with join_job(tmp_path, "job"):
        assert len(list((tmp_path / WORKERS).glob(f"job*{SUFFIX}"))) == 1

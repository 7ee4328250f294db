import json

import pytest

from medseg.errors import InputError, ResourceError, UsageError
from medseg.jobs import JobSettings, open_journal, run_jobs
from medseg.jobs.journal import Entry, Journal


class Counting:
    """Squares numbers and counts how often; -1 is refused as input."""

    def __init__(self):
        self.calls = []

    def __call__(self, number):
        self.calls.append(number)
        if number < 0:
            raise InputError(str(number), "a number from 0", "less")
        return {"square": number * number, "pair": (number, 0.1 + number)}


def run(folder, items, function=None, *, mark="", settings=None):
    settings = settings or JobSettings()
    with open_journal(folder, settings) as journal:
        outcomes = run_jobs(
            function or Counting(), items, key=str, fingerprint=lambda n: f"{mark}{n}",
            journal=journal, settings=settings,
        )  # fmt: skip
        return {outcome.item: outcome for outcome in outcomes}


def results(outcomes):
    return {item: outcome.result for item, outcome in sorted(outcomes.items())}


def entry_of(folder, key):
    return Journal(folder)._path(key)


def test_what_is_done_is_recalled_and_cannot_be_told_from_computed(tmp_path):
    first = run(tmp_path / "j", [1, 2])
    again = Counting()
    assert results(run(tmp_path / "j", [1, 2, 3], again)) == results(run(tmp_path / "k", [1, 2, 3]))
    assert again.calls == [3]
    assert first[2].result == {"square": 4, "pair": [2, 2.1]}


def test_other_inputs_or_settings_are_computed_anew(tmp_path):
    run(tmp_path, [1, 2], mark="old")
    again = Counting()
    run(tmp_path, [1, 2], again, mark="new")
    assert again.calls == [1, 2]


def test_what_failed_is_tried_again(tmp_path):
    assert isinstance(run(tmp_path, [1, -1])[-1].error, InputError)
    again = Counting()
    run(tmp_path, [1, -1], again)
    assert again.calls == [-1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"square": 4', '"square": 5'),
        lambda _: "[]",
        lambda _: "",
    ],
    ids=["half", "altered", "other", "empty"],
)
def test_a_damaged_entry_is_computed_anew(tmp_path, spoil):
    run(tmp_path, [1, 2])
    path = entry_of(tmp_path, "2")
    path.write_text(spoil(path.read_text()))
    again = Counting()
    assert run(tmp_path, [1, 2], again)[2].result["square"] == 4
    assert again.calls == [2]


def test_keys_of_any_kind_get_files_of_their_own(tmp_path):
    keys = ["a/b", "a_b", "../x", "A", "a", "ä" * 300, "", ".."]
    journal = Journal(tmp_path / "j")
    for number, key in enumerate(keys):
        journal.write(key, Entry("mark", number))
    assert [journal.read(key).result for key in keys] == list(range(len(keys)))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "j"]


def test_parts_merged_are_the_whole_errors_included(tmp_path):
    items = [3, 1, -1, 4, 15, 9, 2]
    for part_id in range(3):
        found = run(tmp_path / "p", items, settings=JobSettings(num_parts=3, part_id=part_id))
        assert list(found) == items[part_id::3]
    whole = run(tmp_path / "whole", items)
    merged = run(tmp_path / "p", items, settings=JobSettings(merge=True))
    assert list(merged) == items
    assert results(merged) == results(whole)
    assert str(merged[-1].error) == str(whole[-1].error)


def test_merging_names_what_is_missing_and_the_parts_to_run(tmp_path):
    items = list(range(10))
    for part_id in (0, 2):
        run(tmp_path, items, settings=JobSettings(num_parts=3, part_id=part_id))
    wanted = r"10 cases, got 3 missing.*: 1, 4, 7; run --num-parts 3 --part-id 1 again"
    with pytest.raises(InputError, match=wanted):
        run(tmp_path, items, settings=JobSettings(merge=True))
    with pytest.raises(InputError, match="10 missing, or made from other files or settings"):
        run(tmp_path, items, settings=JobSettings(merge=True), mark="other")


@pytest.mark.parametrize("split", [(3, None), (None, 0), (3, 3), (3, -1), (0, 0)])
def test_parts_that_do_not_exist_are_refused(split):
    with pytest.raises(UsageError, match="--part-id"):
        JobSettings(*split)


def test_a_part_that_is_to_merge_is_refused():
    with pytest.raises(UsageError, match="--merge gathers all parts"):
        JobSettings(3, 1, merge=True)


def test_a_full_disk_stops_the_run_and_what_is_done_stays(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    run(tmp_path, [1])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        run(tmp_path, [1, 2, 3])
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [entry_of(tmp_path, "1").name]
    again = Counting()
    run(tmp_path, [1, 2, 3], again)
    assert again.calls == [2, 3]


def test_an_entry_says_what_it_is_of(tmp_path):
    run(tmp_path, [7])
    content = json.loads(entry_of(tmp_path, "7").read_text())
    assert (content["key"], content["entry"]["fingerprint"]) == ("7", "7")

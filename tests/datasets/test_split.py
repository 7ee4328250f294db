import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.case import Case
from medseg.datasets.split import apply_splits, fold_splits, folds, hold_out, read_splits
from medseg.errors import InputError, UsageError


def case(case_id, patient=""):
    return Case(case_id, f"{case_id}.nii.gz", patient_id=patient)


def ids(cases):
    return [case.case_id for case in cases]


@given(
    st.lists(st.integers(0, 11), min_size=12, max_size=60),
    st.integers(3, 6),
    st.integers(0, 1000),
    st.randoms(use_true_random=False),
)
def test_folds_divide_all_cases_and_never_a_patient(owners, num_folds, seed, random):
    cases = [case(f"c{i}", f"p{owner}") for i, owner in enumerate([*range(12), *owners])]
    parts = folds(cases, num_folds, seed)
    assert sorted(ids(c for part in parts for c in part)) == sorted(ids(cases))
    patients = [{c.patient for c in part} for part in parts]
    assert sum(len(owned) for owned in patients) == len(set.union(*patients))

    shuffled = random.sample(cases, len(cases))
    assert folds(shuffled, num_folds, seed) == parts


def test_folds_of_single_patients_differ_by_one_case_at_most():
    sizes = [len(part) for part in folds([case(f"c{i}") for i in range(23)], 5, seed=1)]
    assert sorted(sizes) == [4, 4, 5, 5, 5]


def test_every_case_is_tested_once_over_all_folds_and_validation_is_never_test():
    cases = [case(f"c{i}") for i in range(20)]
    tested = []
    for fold in range(4):
        parts = fold_splits(cases, fold=fold, num_folds=4, seed=3)
        tested += ids(parts["test"])
        assert sorted(ids([*parts["train"], *parts["val"], *parts["test"]])) == sorted(ids(cases))
    assert sorted(tested) == sorted(ids(cases))


def test_another_seed_draws_other_folds():
    cases = [case(f"c{i}") for i in range(20)]
    one, other = fold_splits(cases, seed=0), fold_splits(cases, seed=1)
    assert ids(one["test"]) != ids(other["test"])


@pytest.mark.parametrize(("fold", "num_folds"), [(5, 5), (-1, 5), (0, 2)])
def test_folds_that_do_not_fit_are_refused(fold, num_folds):
    with pytest.raises(UsageError, match=f"{fold} of {num_folds}"):
        fold_splits([case(f"c{i}") for i in range(9)], fold=fold, num_folds=num_folds)


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(UsageError, match="5 folds want as many patients, got 2"):
        fold_splits([case("a", "p"), case("b", "p"), case("c", "q")])


def test_a_larger_hold_out_keeps_the_smaller_one():
    drawn = [set(hold_out([f"c{i}" for i in range(18)], count)) for count in range(6)]
    assert [len(ids) for ids in drawn] == [0, 1, 2, 3, 4, 5]
    assert all(one < other for one, other in pairwise(drawn))


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(UsageError, match="num_val must be 0 to 1, got 2"):
        hold_out(["a", "b"], 2)


def test_named_splits_report_ids_that_are_no_cases(tmp_path):
    cases = [case("a"), case("b"), case("c")]
    divided, rest, problems = apply_splits(cases, {"train": ["b", "x"], "test": ["a"]}, tmp_path)
    assert {name: ids(part) for name, part in divided.items()} == {"train": ["b"], "test": ["a"]}
    assert ids(rest) == ["c"]
    assert [(p.kind, p.case_id, p.split) for p in problems] == [
        ("split-unknown-case", "x", "train")
    ]


def test_a_list_of_divisions_is_read_by_fold(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    assert read_splits(path, fold=1) == {"train": ["b"], "val": ["a"]}
    with pytest.raises(UsageError, match="fold must be 0 to 1, got 2"):
        read_splits(path, fold=2)


@pytest.mark.parametrize("content", ["{}", '{"train": "a"}', '"a"', "[3]"])
def test_a_file_that_is_no_split_is_refused(tmp_path, content):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(InputError, match="split names with lists of case ids"):
        read_splits(path)

"""The command line of an evaluation."""

import json

import pytest

from medseg import cli
from tests.evaluation.files import blocks, save

TRUTH = blocks((1, (1, 1, 1)), (2, (4, 4, 3)))


@pytest.fixture
def command(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "truth" / f"{name}.nii.gz", TRUTH)
        save(tmp_path / "out" / f"{name}.nii.gz", TRUTH)
    (tmp_path / "cohort.csv").write_text("case_id,scanner,age\na,S1,50\nb,S2,60\n")
    places = ["-i", tmp_path / "out", "-l", tmp_path / "truth", "-o", tmp_path / "results"]
    options = ["--organs", "left part=1,right part=2", "--workers", "1", "--no-progress"]
    return ["evaluate", *map(str, places), *options]


def test_metrics_regions_and_conventions_are_chosen_by_name(command, tmp_path, capsys):
    extra = ["--metrics", "dsc,nsd", "--tolerances", "0.5,3", "--convention", "nnunet"]
    extra += ["--convention", "medpy", "--regions", "both=left part+right part", "--json"]
    assert cli.run([*command, *extra]) == 0
    results = json.loads(capsys.readouterr().out)
    assert list(results["metrics"]) == ["dsc", "nsd_0.5mm", "nsd_3mm"]
    assert results["labels"] == {"left part": 1, "right part": 2, "both": [1, 2]}
    assert set(results["summary"]["conventions"]) == {"nnunet", "medpy"}


def test_a_table_of_the_cases_gives_figures_per_subgroup(command, tmp_path, capsys):
    assert cli.run([*command, "--groups", f"{tmp_path / 'cohort.csv'}:scanner"]) == 0
    assert "scanner" in capsys.readouterr().err
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert set(results["subgroups"]["groups"]) == {"S1", "S2"}


def test_a_table_that_cannot_be_used_is_told_before_anything_is_scored(command, tmp_path, capsys):
    assert cli.run([*command, "--groups", str(tmp_path / "cohort.csv")]) == 2
    assert "name the column to group by, one of scanner, age" in capsys.readouterr().err
    assert cli.run([*command, "--groups", str(tmp_path / "none.csv")]) == 3
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--metrics", "dsc,dice"], "metrics: expected some of dsc"),
        (["--convention", "lab"], "conventions: expected some of transunet"),
        (["--tolerances", "one"], "expected numbers"),
        (["--tolerances", "-1"], "lengths in mm"),
        (["--regions", "both"], "region=organ+organ"),
        (["--regions", "both=left part+lung"], "parts among left part, right part"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(command, capsys, extra, words):
    assert cli.run([*command, *extra]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_predictions_without_truth_are_named(command, tmp_path, capsys):
    save(tmp_path / "out" / "surplus.nii.gz", TRUTH)
    assert cli.run(command) == 0
    assert "Without truth, not scored: surplus" in capsys.readouterr().err


def test_what_other_programs_would_print_is_shown(command, capsys):
    assert cli.run([*command, "--convention", "monai"]) == 0
    assert "As monai would print it: monai_dice 1.0000" in capsys.readouterr().err

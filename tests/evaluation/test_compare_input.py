"""What cannot be compared is refused by name, on the command line with its exit code."""

import json

import pytest

from medseg import cli
from medseg.errors import InputError
from medseg.evaluation.comparable import names_from
from medseg.evaluation.compare import compare
from tests.evaluation.results import ONE, OTHER, models, results, write


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["r/unet/results.json", "r/vit/results.json"], ["unet", "vit"]),
        (["unet/r/results.json", "vit/r/results.json"], ["unet", "vit"]),
        (["r/unet.json", "r/vit.json"], ["unet", "vit"]),
        (["r/a/results.json", "r/a/results.json"], ["a (1)", "a (2)"]),
    ],
)
def test_models_are_named_after_where_their_paths_differ(tmp_path, paths, names):
    assert names_from([tmp_path / path for path in paths]) == names


def changed(content, change):
    content = json.loads(json.dumps(content))
    change(content)
    return content


BAD = {
    "another truth": (
        lambda r: r["cases"][1]["sha256"].update(label="other"), "case_1.*SHA-256",
    ),
    "another convention": (
        lambda r: r["metrics"]["dsc"].update(convention="mine"), "dsc with the convention.*'mine'",
    ),
    "another unit": (lambda r: r["metrics"]["hd95"].update(unit="voxel"), "hd95.*unit"),
    "another value in the truth": (
        lambda r: r["cases"][0]["label_values"].update(liver=9), "'liver' with its value.*9",
    ),
    "another shape": (lambda r: r["cases"][0].update(shape=[4, 4, 5]), r"shape \[4, 4, 4\]"),
    "an organ that the other truth lacks": (
        lambda r: r["cases"][0]["organs"]["liver"].update(status="false_positive"),
        "'liver' being in the truth in case_0: True",
    ),
    "other cases": (
        lambda r: [case.update(case_id="x" + case["case_id"]) for case in r["cases"]],
        "cases of .* case_0.*none of them, but xcase_0",
    ),
    "other organs": (lambda r: r.update(labels={"Liver": 1}), "none of them, but Liver"),
    "a case twice": (lambda r: r["cases"].append(r["cases"][0]), "'case_0' twice"),
    "no status": (lambda r: r["cases"][0]["organs"]["liver"].pop("status"), "a status"),
    "text for a figure": (
        lambda r: r["cases"][0]["organs"]["liver"].update(dsc="0.5"), "a number as dsc of 'liver'",
    ),
    "an infinite figure": (
        lambda r: r["cases"][0]["organs"]["liver"].update(hd95=float("inf")), "got inf",
    ),
    "no cases": (lambda r: r.pop("cases"), "no 'cases'"),
    "another format": (lambda r: r.update(format="medseg-comparison/1"), "another kind"),
    "no diagonal": (lambda r: r["cases"][3].pop("diagonal_mm"), "'diagonal_mm' in case_3"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_compared_is_refused_by_name_and_nothing_is_written(fault, tmp_path, capsys):
    change, said = BAD[fault]
    good = write(tmp_path / "good", results(ONE))
    bad = write(tmp_path / "bad", changed(results(ONE), change))
    with pytest.raises(InputError, match=said):
        compare([good, bad], tmp_path / "out")
    assert cli.run(["compare", str(good), str(bad), "-o", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr()
    assert str(bad) in shown.err
    assert len([line for line in shown.err.splitlines() if line.startswith("medseg: ")]) == 1
    assert not (tmp_path / "out").exists()


def test_truths_without_a_hash_are_compared_with_a_word_of_warning(tmp_path):
    old = changed(results(ONE), lambda r: [case.pop("sha256") for case in r["cases"]])
    found = compare(
        [write(tmp_path / "a", old), write(tmp_path / "b", results(ONE))], tmp_path / "o"
    )
    assert any("5 of 5 cases" in notice for notice in found["notices"])
    assert not any(
        "same" in n for n in compare(models(tmp_path, ONE, ONE), tmp_path / "o")["notices"]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{a}"], 2, "two models or more"),
        (["{a}", "{a}/nowhere"], 3, "no such file"),
        (["{a}", "{b}", "--metric", "hd96"], 2, "must be one of dsc"),
        (["{a}", "{b}", "--names", "one"], 2, "2 different names"),
        (["{a}", "{b}", "--names", "one,one"], 2, "2 different names"),
        (["{a}", "{b}", "--alpha", "5"], 2, "alpha between 0 and 1"),
        (["{a}", "{b}", "--resamples", "0"], 2, "resamples of 1 or more"),
        (["{a}", "{b}", "--seed", "-1"], 2, "seed of 0 or more"),
    ],
)
def test_wrong_calls_end_with_their_exit_code(tmp_path, arguments, code, said, capsys):
    a, b = models(tmp_path, ONE, OTHER)
    words = [word.format(a=a, b=b) for word in arguments]
    assert cli.run(["compare", *words, "-o", str(tmp_path / "out")]) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_verb_shows_tables_and_with_json_one_document(tmp_path, capsys):
    paths = [str(path) for path in models(tmp_path, ONE, OTHER, random_like(ONE))]
    command = ["compare", *paths, "-o", str(tmp_path / "out"), "--names", "[a],b,c"]
    assert cli.run(command) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    text = " ".join(shown.err.split())
    assert "b against [a]: DSC, higher is better" in text
    assert "scored → missed" in text
    assert "first in" in text
    assert cli.run([*command, "--json", "--metric", "hd95"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["metrics"]) == ["hd95"]
    assert found == json.loads((tmp_path / "out" / "comparison.json").read_text())


def random_like(organs):
    return {
        organ: [value if isinstance(value, str) else value / 2 for value in values]
        for organ, values in organs.items()
    }

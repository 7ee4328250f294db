import json

import numpy as np
import pytest

from medseg.case import Case, write_cases
from medseg.cli import run
from medseg.errors import InputError, UsageError
from medseg.explaining.compare import FIGURES, compare_methods, summary_of
from medseg.explaining.compare import Measured as Row
from medseg.networks.transunet import TransUNet
from medseg.volumes import Volume, write_volume
from tests.explaining.test_explain import LPS, SHAPE, SMALL, write


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write(folder, TransUNet, SMALL | {"image_size": [32, 48]})


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    listed = []
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 100, SHAPE).astype(np.int16)
        label = np.zeros(SHAPE, dtype=np.uint8)
        label[5:30, 10:35, 1:4] = 7
        for name, array in (("image", image), ("label", label)):
            write_volume(folder / f"{name}{number}.nii.gz", Volume(array, LPS))
        listed.append(
            Case(
                f"case{number}", folder / f"image{number}.nii.gz",
                folder / f"label{number}.nii.gz", {"liver": 7},
            )
        )  # fmt: skip
    write_cases(folder / "cases.json", listed)
    return folder / "cases.json"


def test_every_method_gets_figures_with_intervals_beside_the_random_control(model, cases, tmp_path):
    found = compare_methods(model, cases, tmp_path, organs=["liver"], methods=["raw", "grad_cam"])
    assert list(found["methods"]) == ["raw", "grad_cam", "random"]
    assert found["cases"] == 3
    for figures in found["methods"].values():
        assert 0 <= figures["deletion"]["mean"] <= 1
        assert figures["insertion"]["low"] <= figures["insertion"]["mean"]
        assert 0 <= figures["inside"]["mean"] <= 1
    assert found["methods"]["random"]["over_random"]["mean"] == 0
    assert not found["methods"]["random"]["beats_random"]
    assert found["methods"]["random"]["survives"]["mean"] == pytest.approx(1)
    assert found["methods"]["raw"]["agreement"]["raw"] == pytest.approx(1)
    assert json.loads((tmp_path / "faithfulness.json").read_text()) == found
    assert (tmp_path / "curves.png").is_file()


def test_a_method_beats_chance_only_if_the_interval_says_so():
    def row(case, method, gain):
        figures = dict.fromkeys(FIGURES, 0.5) | {"gain": gain}
        return Row(case, "liver", method, figures, {}, [], [])

    rows = [row(f"case{n}", "random", 0.1 * n) for n in range(5)]
    rows += [row(f"case{n}", "better", 0.1 * n + 0.2 + 0.01 * n) for n in range(5)]
    rows += [row(f"case{n}", "mixed", 0.1 * n + (0.2 if n % 2 else -0.15)) for n in range(5)]
    better, mixed = (summary_of(rows, name) for name in ("better", "mixed"))
    assert better["beats_random"]
    assert better["over_random"]["mean"] == pytest.approx(0.22)
    assert not mixed["beats_random"]


def test_a_method_survives_shuffling_only_if_the_interval_says_so():
    def row(case, method, survives):
        figures = dict.fromkeys(FIGURES, 0.5) | {"survives": survives}
        return Row(case, "liver", method, figures, {}, [], [])

    rows = [row(f"case{n}", "random", 1.0) for n in range(5)]
    rows += [row(f"case{n}", "image", 0.9 + 0.01 * n) for n in range(5)]
    rows += [row(f"case{n}", "mixed", 0.2 if n % 2 else 0.9) for n in range(5)]
    assert summary_of(rows, "image")["survives_shuffling"]
    assert not summary_of(rows, "mixed")["survives_shuffling"]


def test_the_command_prints_the_table_and_names_what_is_no_better_than_chance(
    model, cases, tmp_path, capsys
):
    command = ["explain", str(model), "-i", str(cases), "-o", str(tmp_path), "--compare",
               "--no-progress", "--method", "raw"]  # fmt: skip
    assert run([*command, "--organ", "liver"]) == 0
    said = capsys.readouterr().err
    assert "over random" in said
    assert f"Page: {tmp_path / 'compare.html'}" in said
    assert "random" in said
    assert run([*command, "--organ", "kidney"]) == 2
    assert "organ must be one of liver, spleen, got 'kidney'" in capsys.readouterr().err


def test_cases_without_truth_or_without_the_organ_are_refused(model, cases, tmp_path):
    with pytest.raises(InputError, match="truth of spleen"):
        compare_methods(model, cases, tmp_path, organs=["spleen"], methods=["raw"])
    with pytest.raises(UsageError, match="method must be one of"):
        compare_methods(model, cases, tmp_path, organs=["liver"], methods=["magic"])

import math
import re
from pathlib import Path

import pytest

from medseg.report.colours import organ_colours
from medseg.report.curves import POINTS, training_curves
from medseg.report.read import Run, read_run
from tests.report.example import write_run

COLOURS = {"liver": "#ff0000", "left kidney": "#0000ff", "never seen": "#00ff00"}


def test_three_curves_are_drawn_with_the_organs_that_the_history_has(tmp_path):
    iteration, loss, dsc = training_curves(read_run(write_run(tmp_path / "run")), COLOURS)
    assert "900 iterations" in iteration.note
    assert list(loss.legend) == ["training", "validation"]
    assert list(dsc.legend) == ["mean", "liver", "left kidney"]
    assert "#ff0000" in dsc.svg
    assert "#00ff00" not in dsc.svg


def test_curves_take_their_ink_from_the_page_and_share_no_id(tmp_path):
    curves = training_curves(read_run(write_run(tmp_path / "run")), COLOURS)
    ids = [name for curve in curves for name in re.findall(r'\bid="([^"]+)"', curve.svg)]
    assert len(ids) == len(set(ids))
    for curve in curves:
        assert "var(--ink-2)" in curve.svg
        assert "http" not in curve.svg
        assert "<text" in curve.svg


def test_long_training_is_drawn_in_few_points():
    losses = [1.0 + (index % 2) for index in range(50_000)]
    (curve,) = training_curves(Run(Path(), iterations={"loss": losses}), COLOURS)
    assert f"mean of about {50_000 // POINTS} iterations" in curve.note
    assert len(curve.svg) < 60_000


def test_an_unfinished_or_broken_history_is_drawn_as_far_as_it_goes():
    assert training_curves(Run(Path()), COLOURS) == []
    nothing = {"epoch": [1.0], "train_loss": [math.nan], "val_dsc": [math.nan]}
    assert training_curves(Run(Path(), history=nothing), COLOURS) == []
    first = {"epoch": [1.0, 2.0], "train_loss": [0.5, math.inf], "val_loss": [math.nan] * 2}
    (curve,) = training_curves(Run(Path(), history=first), COLOURS)
    assert list(curve.legend) == ["training"]


@pytest.mark.parametrize("count", [1, 13, 104])
def test_every_organ_has_a_colour_of_its_own(count):
    colours = organ_colours(f"organ {index}" for index in range(count))
    assert len(set(colours.values())) == count
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours.values())

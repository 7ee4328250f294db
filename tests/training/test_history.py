import csv

import numpy as np
import pytest

from medseg.training.figures import running_mean, write_figures
from medseg.training.history import History


def history_of(*scores, organs=("liver",)):
    history = History(organs)
    for epoch, score in enumerate(scores, start=1):
        validated = {} if score is None else {"val_loss": 1 - score, "val_dsc": score}
        history.losses += [1 / epoch] * 2
        history.rates += [0.1] * 2
        row = {"epoch": epoch, "iteration": 2 * epoch, "train_loss": 1 / epoch, "lr": 0.1}
        history.add_epoch(row | {"seconds": 1.5, "dsc_liver": score} | validated)
    return history


def test_best_is_the_first_of_the_highest():
    history = history_of(0.1, 0.5, None, 0.5, 0.4)
    assert history.best["epoch"] == 2
    assert history.validations_since_best == 2


def test_nothing_is_best_before_the_first_validation():
    assert history_of(None, None).best is None
    assert history_of(None, None).validations_since_best == 0


def test_a_validation_in_which_no_organ_could_be_scored_is_worse_than_any_score():
    history = history_of(0.0)
    history.add_epoch({"epoch": 2, "val_loss": 0.1, "val_dsc": None})
    assert history.best["epoch"] == 1


def test_files_have_one_row_per_epoch_and_per_iteration(tmp_path):
    history_of(None, 0.25).write(tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch", "iteration", "train_loss", "val_loss", "val_dsc", "dsc_liver", "lr", "seconds",
    ]  # fmt: skip
    assert [row["val_dsc"] for row in rows] == ["", "0.25"]
    assert (rows[1]["epoch"], rows[1]["iteration"], rows[1]["val_loss"]) == ("2", "4", "0.75")
    lines = (tmp_path / "iterations.csv").read_text().splitlines()
    assert lines == ["iteration,loss,lr", "1,1,0.1", "2,1,0.1", "3,0.5,0.1", "4,0.5,0.1"]


def test_state_there_and_back():
    history, other = history_of(None, 0.25), History(["liver"])
    other.load(history.state())
    assert other.epochs == history.epochs
    assert (other.losses, other.rates) == (history.losses, history.rates)


def test_running_mean_by_hand():
    assert running_mean(np.array([2.0, 4.0, 6.0, 8.0]), 2) == pytest.approx([2, 3, 5, 7])


def test_figures_are_pictures_even_where_epochs_lack_a_validation(tmp_path):
    write_figures(history_of(None, 0.25, None), tmp_path)
    for name in ("loss_per_iteration", "loss_train_val", "dsc_per_organ"):
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

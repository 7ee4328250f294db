import pytest

from medseg.errors import UsageError
from medseg.training.settings import TrainSettings


def test_epochs_and_iterations_by_hand():
    assert TrainSettings(max_epochs=3).total_iterations(epoch_length=7) == 21
    cut_short = TrainSettings(max_iterations=15)
    assert (cut_short.total_iterations(7), cut_short.total_epochs(7)) == (15, 3)
    assert TrainSettings(max_iterations=14).total_epochs(7) == 2


def test_plain_data_there_and_back():
    settings = TrainSettings(max_epochs=3, ema_decay=0.9)
    assert TrainSettings(**settings.to_plain()) == settings


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "exactly one"),
        ({"max_epochs": 1, "max_iterations": 1}, "exactly one"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": 1.5}, "max_epochs"),
        ({"max_epochs": True}, "max_epochs"),
        ({"max_epochs": 1, "precision": "half"}, "precision"),
        ({"max_epochs": 1, "clip_norm": 0}, "clip_norm"),
        ({"max_epochs": 1, "clip_norm": float("nan")}, "clip_norm"),
        ({"max_epochs": 1, "ema_decay": 1.0}, "ema_decay"),
        ({"max_epochs": 1, "patience": 0}, "patience"),
        ({"max_epochs": 1, "resume": True, "overwrite": True}, "not both"),
    ],
)
def test_settings_without_sense_are_refused(changes, word):
    with pytest.raises(UsageError, match=word):
        TrainSettings(**changes)

import errno
import random

import numpy as np
import pytest
import torch

from medseg.errors import ModelError, ResourceError
from medseg.training import checkpoints
from medseg.training.checkpoints import (
    clear_leftovers,
    copy_checkpoint,
    random_state,
    read_checkpoint,
    set_random_state,
)
from tests.training.small import fit


def draws():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()


def test_random_generators_go_on_where_they_were_after_a_trip_through_a_file(tmp_path):
    np.random.randn()  # leaves half a pair of normal numbers behind
    torch.save(random_state(), tmp_path / "state.pt")
    expected = draws()
    draws()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() == expected


def test_a_copy_outlives_a_new_version_of_its_source(tmp_path):
    source, copy = tmp_path / "a", tmp_path / "b"
    source.write_text("old")
    copy_checkpoint(source, copy)
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").replace(source)
    assert (source.read_text(), copy.read_text()) == ("new", "old")


def test_a_copy_is_made_where_links_are_not_to_be_had(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(checkpoints.os, "link", no_links)
    (tmp_path / "a").write_text("content")
    copy_checkpoint(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"


def test_a_missing_checkpoint_is_said_so(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_checkpoint(tmp_path / "last.pt")


def test_leftovers_of_a_kill_are_cleared_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "history.csv").write_text("epoch\n")
    leftovers = [tmp_path / ".tmp-1-history.csv", tmp_path / "checkpoints" / ".tmp-2-last.pt"]
    kept = [tmp_path / "config.yaml", tmp_path / "checkpoints" / "last.pt"]
    for path in leftovers + kept:
        path.write_text("")
    clear_leftovers(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in leftovers)


def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    class FullDisk:
        def __init__(self, file):
            self.file, self.room = file, 1000

        def write(self, content):
            self.room -= len(content)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

        def flush(self):
            self.file.flush()

    save, calls = torch.save, []

    def fill(state, file):
        calls.append(1)
        save(state, FullDisk(file) if len(calls) > 1 else file)

    monkeypatch.setattr(checkpoints.torch, "save", fill)
    with pytest.raises(ResourceError, match="disk is full"):
        fit(tmp_path)
    folder = tmp_path / "run" / "checkpoints"
    assert read_checkpoint(folder / "last.pt")["iteration"] == 4
    assert not list(folder.glob(".tmp-*"))

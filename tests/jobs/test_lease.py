import json
import os
import socket
import subprocess
import sys
import time

import pytest

from medseg.errors import UsageError
from medseg.jobs.lease import STALE_S, WHOLE, lease


def write(folder, name, **changes):
    folder.mkdir(exist_ok=True)
    holder = {
        "pid": os.getpid(), "host": socket.gethostname(), "started": "2026-01-02 03:04:05",
        "birth": "another boot 1", "token": "t",
    }  # fmt: skip
    (folder / f"{name}.lease").write_text(json.dumps(holder | changes))
    return folder / f"{name}.lease"


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_lease_that_is_held_names_its_holder(tmp_path):
    folder = tmp_path / "out" / ".journal"
    with (
        lease(folder, "part-0-of-2"),
        pytest.raises(UsageError, match=rf"process {os.getpid()} on {socket.gethostname()}"),
        lease(folder, "part-0-of-2"),
    ):
        pass
    assert list(folder.iterdir()) == []


def test_parts_stand_side_by_side_but_not_beside_the_whole(tmp_path):
    with lease(tmp_path, "part-0-of-2"), lease(tmp_path, "part-1-of-2"):
        with pytest.raises(UsageError, match=r"at work there since .* \(part-0-of-2\)"):
            lease(tmp_path, WHOLE).__enter__()
        assert len(list(tmp_path.iterdir())) == 2
    with lease(tmp_path, WHOLE), pytest.raises(UsageError, match="whole"):
        lease(tmp_path, "part-0-of-2").__enter__()


@pytest.mark.parametrize("name", [WHOLE, "part-0-of-2"])
def test_the_lease_of_a_dead_process_is_taken_over(tmp_path, name):
    write(tmp_path, name, pid=dead_process())
    with lease(tmp_path, name):
        held = json.loads((tmp_path / f"{name}.lease").read_text())
        assert held["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_got_the_id_of_a_dead_one_holds_nothing(tmp_path):
    write(tmp_path, WHOLE)  # of our own id, but born at another time
    with lease(tmp_path, WHOLE):
        pass


def test_of_another_machine_only_the_heartbeat_counts(tmp_path):
    path = write(tmp_path, WHOLE, host="elsewhere", pid=dead_process())
    with pytest.raises(UsageError, match="on elsewhere is at work there since 2026-01-02 03:04:05"):
        lease(tmp_path, WHOLE).__enter__()
    age(path, STALE_S + 10)
    with lease(tmp_path, WHOLE):
        pass


def test_a_damaged_lease_counts_as_held_until_it_is_old(tmp_path):
    path = write(tmp_path, WHOLE)
    path.write_text('{"pid": 1')
    with pytest.raises(UsageError, match="at work there"):
        lease(tmp_path, WHOLE).__enter__()
    age(path, STALE_S + 10)
    with lease(tmp_path, WHOLE):
        pass


def test_the_heart_beats_and_the_folder_may_vanish(tmp_path):
    folder = tmp_path / "journal"
    with lease(folder, WHOLE, heartbeat_s=0.02):
        path = folder / f"{WHOLE}.lease"
        age(path, 1000)
        time.sleep(0.3)
        assert time.time() - path.stat().st_mtime < 100
        path.unlink()
        folder.rmdir()
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []

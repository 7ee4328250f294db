import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from medseg.case import Case
from medseg.errors import InputError, ResourceError
from medseg.loading import build, content, store
from medseg.loading.preprocessing import Preprocessing
from medseg.loading.store import open_store, prune, store_size
from tests.loading.making import LABELS, WINDOW, write_case


@pytest.fixture
def built(monkeypatch):
    """The cases that are prepared, in order."""
    seen, real = [], build._prepare
    monkeypatch.setattr(build, "_prepare", lambda job: seen.append(job.case.case_id) or real(job))
    return seen


def open_one(case, root, preprocessing=WINDOW, labels=LABELS):
    (stored,) = open_store([case], preprocessing, labels, root=root)
    return stored


def test_slices_are_axial_first_and_hold_the_prepared_volume(tmp_path):
    image = np.random.default_rng(0).uniform(-20, 120, (6, 5, 4)).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 3, (6, 5, 4)).astype(np.uint8)
    stored = open_one(
        write_case(tmp_path, image=image, label=label, affine=np.diag([1.0, 2.0, 3.0, 1.0])),
        tmp_path / "store",
    )
    expected = np.clip(image / 100, 0, 1).transpose(2, 0, 1)
    np.testing.assert_allclose(stored.images, expected, atol=1 / 65535)
    np.testing.assert_array_equal(stored.classes, label.transpose(2, 0, 1))
    np.testing.assert_array_equal(stored.read_image(2), stored.packed[2])
    np.testing.assert_array_equal(stored.read_classes(3), label[:, :, 3])
    assert stored.shape == (4, 6, 5)
    assert stored.spacing == (1.0, 2.0, 3.0)
    assert stored.counts.shape == (4, 3)
    assert stored.counts[1, 2] == np.count_nonzero(label[:, :, 1] == 2)


def test_a_second_opening_prepares_nothing(tmp_path, built):
    cases = [write_case(tmp_path, name) for name in ("a", "b")]
    for _ in range(2):
        stored = open_store(cases, WINDOW, LABELS, root=tmp_path / "store")
    assert built == ["a", "b"]
    assert [case.case_id for case in stored] == ["a", "b"]


def test_a_changed_file_of_same_size_and_mtime_is_never_served_stale(tmp_path, built, monkeypatch):
    monkeypatch.setattr(content, "SETTLED_NS", -(10**12))
    case = write_case(tmp_path, image=np.full((3, 3, 3), 10, dtype=np.float32))
    assert open_one(case, tmp_path / "store").images.max() == pytest.approx(0.1, abs=1e-4)
    stat = case.image.stat()
    time.sleep(0.02)
    write_case(tmp_path, image=np.full((3, 3, 3), 90, dtype=np.float32))
    os.utime(case.image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert case.image.stat().st_size == stat.st_size
    assert open_one(case, tmp_path / "store").images.min() == pytest.approx(0.9, abs=1e-4)


def test_changed_settings_and_label_maps_are_prepared_anew(tmp_path, built):
    case, root = write_case(tmp_path), tmp_path / "store"
    open_one(case, root)
    open_one(case, root, preprocessing=Preprocessing(window=(0, 50)))
    swapped = open_one(case, root, labels={"spleen": 1, "liver": 2})
    renamed = replace(case, labels={"spleen": 1, "liver": 2})
    moved = open_one(renamed, root)
    assert len(built) == 4
    original = np.asarray(open_one(case, root).classes)
    np.testing.assert_array_equal(swapped.classes == 1, original == 2)
    np.testing.assert_array_equal(moved.classes == 1, original == 2)
    assert len(built) == 4


def test_output_values_of_organs_do_not_matter_to_the_store(tmp_path, built):
    case = write_case(tmp_path)
    open_one(case, tmp_path / "store")
    open_one(case, tmp_path / "store", labels={"liver": 77, "spleen": 5})
    assert len(built) == 1


def test_a_case_without_label_has_images_only(tmp_path):
    case = replace(write_case(tmp_path), label=None)
    stored = open_one(case, tmp_path / "store")
    assert stored.classes is None
    assert not stored.counts.any()
    assert stored.counts.shape == (4, 3)


def test_a_stored_case_is_small_to_send(tmp_path):
    stored = open_one(write_case(tmp_path), tmp_path / "store")
    assert stored.images is not None
    sent = pickle.dumps(stored)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).images, stored.images)


def test_a_damaged_entry_is_prepared_anew(tmp_path, built):
    case = write_case(tmp_path)
    stored = open_one(case, tmp_path / "store")
    images = stored.images
    with (stored.folder / "images.npy").open("r+b") as file:
        file.truncate(200)
    np.testing.assert_array_equal(open_one(case, tmp_path / "store").images, images)
    assert len(built) == 2


def test_all_bad_cases_are_named_at_once_and_the_good_ones_stay(tmp_path, built):
    nan = np.full((3, 3, 3), np.nan, dtype=np.float32)
    cases = [
        write_case(tmp_path, "good"),
        write_case(tmp_path, "nan", image=nan, label=np.zeros((3, 3, 3), dtype=np.uint8)),
        write_case(tmp_path, "shape", label=np.zeros((3, 3, 3), dtype=np.uint8)),
        write_case(tmp_path, "value", label=np.full((6, 5, 4), 9, dtype=np.uint8)),
        replace(write_case(tmp_path, "gone"), image=tmp_path / "nowhere.nii"),
    ]
    cases[2].image.with_name("cut.nii").write_bytes(cases[0].image.read_bytes()[:400])
    cases.append(replace(cases[0], case_id="cut", image=tmp_path / "cut.nii"))
    with pytest.raises(InputError) as caught:
        open_store(cases, WINDOW, LABELS, root=tmp_path / "store")
    message = str(caught.value)
    assert message.startswith("5 of 6 cases: expected usable files, got ")
    assert "\n" not in message
    for part in (
        "nan.nii: expected finite intensities, got NaN or infinity in 27 voxels",
        "shape_label.nii: expected the image's shape (6, 5, 4), got (3, 3, 3)",
        "value_label.nii: expected label values [0, 1, 2], got 9",
        "nowhere.nii: expected a file, got no such file",
        "cut.nii: expected a readable volume",
    ):
        assert part in message
    open_one(cases[0], tmp_path / "store")
    assert built.count("good") == 1


def test_a_label_elsewhere_in_the_world_is_refused_but_float_noise_is_not(tmp_path):
    case, moved = write_case(tmp_path), np.eye(4)
    moved[0, 3] = 3.0
    other = write_case(tmp_path, "moved", affine=moved)
    with pytest.raises(InputError, match=r"moved_label\.nii: .*corners 3 mm apart"):
        open_one(replace(case, label=other.label), tmp_path / "store")
    moved[0, 3] = 1e-4
    other = write_case(tmp_path, "noise", affine=moved)
    assert open_one(replace(case, label=other.label), tmp_path / "store").classes is not None


def test_a_full_disk_is_said_so_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    case = write_case(tmp_path)
    monkeypatch.setattr(build.os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        open_one(case, tmp_path / "store")
    assert list((tmp_path / "store" / "cases").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_not_stored(tmp_path, monkeypatch):
    case, real = write_case(tmp_path), build._prepare

    def prepare_and_touch(job):
        prepared = real(job)
        case.image.write_bytes(case.image.read_bytes() + b" ")
        return prepared

    monkeypatch.setattr(build, "_prepare", prepare_and_touch)
    with pytest.raises(InputError, match="changes while it is read"):
        open_one(case, tmp_path / "store")
    assert store_size(tmp_path / "store") == 0


OPEN_WITH_PREPARED_ARRAYS = """
import os, signal, sys
from pathlib import Path
import numpy as np
from medseg.case import Case
from medseg.loading import build, store
from medseg.loading.preprocessing import Preprocessing

folder, die_at = Path(sys.argv[1]), sys.argv[2]

def prepare(job):
    images = np.arange(4 * 300 * 300, dtype=np.uint16).reshape(4, 300, 300)
    classes = (images % 3).astype(np.uint8)
    counts = np.stack([np.bincount(plane.ravel(), minlength=3) for plane in classes])
    return {"images.npy": images, "classes.npy": classes, "counts.npy": counts}, np.eye(4)

def deadly(function, calls):
    def wrapped(*args):
        calls.append(1)
        if len(calls) == 2 or function.__name__ != "_write_array":
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    return wrapped

build._prepare = prepare
if die_at:
    setattr(build, die_at, deadly(getattr(build, die_at), []))
labels = {"liver": 1, "spleen": 2}
cases = [
    Case(p.stem, p, p.with_name(p.stem + "_label.nii"), labels)
    for p in sorted(folder.glob("?.nii"))
]
while not (folder / "go").exists():
    pass
stored = store.open_store(
    cases, Preprocessing(window=(0.0, 100.0)), labels, root=folder / "store"
)
sys.exit(not all((case.packed[3, 299, 299] == 359999 % 65536) for case in stored))
"""


def start_opening(folder, die_at=""):
    command = [sys.executable, "-c", OPEN_WITH_PREPARED_ARRAYS, str(folder), die_at]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("die_at", ["_write_array", "_flush", "_put_in_place"])
def test_a_kill_while_building_leaves_nothing_to_read_and_the_next_run_builds(tmp_path, die_at):
    write_case(tmp_path, "a")
    (tmp_path / "go").touch()
    killed = start_opening(tmp_path, die_at)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    left = list((tmp_path / "store" / "cases").iterdir())
    assert [folder.name.startswith(".tmp-") for folder in left] == [True]
    assert store_size(tmp_path / "store") == 0

    again = start_opening(tmp_path)
    assert again.communicate()[1] == ""
    assert again.returncode == 0
    assert store_size(tmp_path / "store") > 0


def test_two_processes_build_the_same_cases_at_once(tmp_path):
    for name in "abcd":
        write_case(tmp_path, name)
    both = [start_opening(tmp_path) for _ in range(2)]
    time.sleep(1.5)  # both are up and wait
    (tmp_path / "go").touch()
    for process in both:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    names = [folder.name for folder in (tmp_path / "store" / "cases").iterdir()]
    assert len(names) == 4
    assert not any(name.startswith(".tmp-") for name in names)


def test_leftovers_are_cleared_after_a_day_but_not_before(tmp_path):
    root = tmp_path / "store"
    for name, age_hours in ((".tmp-old", 25), (".tmp-new", 1)):
        folder = root / "cases" / name
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"half")
        os.utime(folder, (time.time() - age_hours * 3600,) * 2)
    open_one(write_case(tmp_path), root)
    left = {folder.name for folder in (root / "cases").iterdir() if folder.name[0] == "."}
    assert left == {".tmp-new"}


def test_pruning_takes_the_longest_unused_first(tmp_path):
    root = tmp_path / "store"
    stored = [open_one(write_case(tmp_path, name), root) for name in "abc"]
    for days, case in zip((30, 20, 10), stored, strict=True):
        used = time.time() - days * 86400
        os.utime(case.folder / "case.json", (used, used))
    size = store_size(root)
    assert prune(root, older_than_days=25) == pytest.approx(size / 3, rel=0.01)
    assert [case.folder.exists() for case in stored] == [False, True, True]
    prune(root, max_bytes=size // 2)
    assert [case.folder.exists() for case in stored] == [False, False, True]
    assert prune(root, older_than_days=25) == 0


def test_opening_counts_as_use(tmp_path):
    root, case = tmp_path / "store", write_case(tmp_path)
    stored = open_one(case, root)
    os.utime(stored.folder / "case.json", (0, 0))
    open_one(case, root)
    assert prune(root, older_than_days=1) == 0


def test_a_slice_pruned_away_is_missed_by_name(tmp_path):
    stored = open_one(write_case(tmp_path), tmp_path / "store")
    prune(tmp_path / "store", max_bytes=0)
    with pytest.raises(InputError, match=r"images\.npy: expected 30 pixels of slice 1, got 0"):
        stored.read_image(1)


def test_a_store_that_may_only_be_read_is_opened(tmp_path, monkeypatch, built):
    case = write_case(tmp_path)
    open_one(case, tmp_path / "store")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store.os, "utime", refuse)
    monkeypatch.setattr(content, "write_json", refuse)
    monkeypatch.setattr(content, "SETTLED_NS", -(10**12))
    assert open_one(case, tmp_path / "store").images.shape == (4, 6, 5)
    assert len(built) == 1


def test_image_and_label_in_one_npz_per_slice(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.random((3, 6, 5)), rng.integers(0, 3, (3, 6, 5))
    paths = tuple(tmp_path / f"slice{index}.npz" for index in range(3))
    for path, image, label in zip(paths, images, labels, strict=True):
        np.savez(path, image=image, label=label)
    case = Case("stack", paths, paths, LABELS)
    stored = open_one(case, tmp_path / "store", preprocessing=Preprocessing(window=(0, 1)))
    assert stored.shape == (3, 6, 5)
    # an affine of 1 on the diagonal is RAS already, so nothing is turned
    np.testing.assert_allclose(stored.images, images, atol=1e-4)
    np.testing.assert_array_equal(stored.classes, labels)


def test_an_empty_store_has_no_size_and_nothing_to_prune(tmp_path):
    assert store_size(tmp_path / "none") == 0
    assert prune(tmp_path / "none", older_than_days=0) == 0


def test_the_default_folder_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_STORE", str(tmp_path / "mine"))
    open_store([write_case(tmp_path)], WINDOW, LABELS)
    assert store_size() > 0
    monkeypatch.delenv("MEDSEG_STORE")
    assert store.default_root().parts[-3:] == (".cache", "medseg", "store")


def test_progress_hears_of_every_prepared_case(tmp_path):
    heard = []
    cases = [write_case(tmp_path, name) for name in ("a", "b")]
    open_store(
        cases, WINDOW, LABELS, root=tmp_path / "store",
        progress=lambda task, done, total, note="": heard.append((task, done, total, note)),
    )  # fmt: skip
    assert heard == [("Preparing cases", 0, 2, ""), ("Preparing cases", 1, 2, "a"),
                     ("Preparing cases", 2, 2, "b")]  # fmt: skip


@pytest.mark.slow
def test_cases_are_built_the_same_in_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "WORTH_A_PROCESS", 1)
    cases = [write_case(tmp_path, name) for name in "abc"]
    cases.append(replace(cases[0], case_id="gone", image=tmp_path / "gone.nii"))
    with pytest.raises(InputError, match=r"gone\.nii"):
        open_store(cases, WINDOW, LABELS, root=tmp_path / "many", workers=2)
    many = open_store(cases[:3], WINDOW, LABELS, root=tmp_path / "many", workers=2)
    one = open_store(cases[:3], WINDOW, LABELS, root=tmp_path / "one")
    for left, right in zip(many, one, strict=True):
        np.testing.assert_array_equal(left.packed, right.packed)
        assert json.loads((left.folder / "case.json").read_text()) == json.loads(
            (right.folder / "case.json").read_text()
        )

import os
import time

import pytest

from medseg.errors import InputError
from medseg.loading import content
from medseg.loading.content import content_of


@pytest.fixture
def settled(monkeypatch):
    """Remember hashes of files however young."""
    monkeypatch.setattr(content, "SETTLED_NS", -(10**12))


def count_hashing(monkeypatch):
    hashed, real = [], content.sha256
    monkeypatch.setattr(content, "sha256", lambda path: hashed.append(path) or real(path))
    return hashed


def test_a_file_at_rest_is_hashed_once(tmp_path, settled, monkeypatch):
    hashed = count_hashing(monkeypatch)
    (tmp_path / "a.nii").write_bytes(b"x" * 100)
    first, again = (content_of(tmp_path / "a.nii", tmp_path / "memory") for _ in range(2))
    assert first == again
    assert len(hashed) == 1


def test_a_file_written_just_now_is_not_trusted_to_be_at_rest(tmp_path, monkeypatch):
    hashed = count_hashing(monkeypatch)
    (tmp_path / "a.nii").write_bytes(b"x" * 100)
    for _ in range(2):
        content_of(tmp_path / "a.nii", tmp_path / "memory")
    assert len(hashed) == 2


def test_new_content_of_the_same_size_and_mtime_is_noticed(tmp_path, settled):
    path = tmp_path / "a.nii"
    path.write_bytes(b"x" * 100)
    before, stat = content_of(path, tmp_path / "memory"), path.stat()
    time.sleep(0.02)  # beyond the file system's clock tick
    path.write_bytes(b"y" * 100)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert content_of(path, tmp_path / "memory").digest != before.digest


def test_the_same_bytes_under_another_name_have_the_same_digest(tmp_path):
    for name in ("a.nii", "b.nii", "c.nrrd"):
        (tmp_path / name).write_bytes(b"x" * 100)
    digests = [content_of(tmp_path / name, tmp_path / "m").digest for name in ("a.nii", "b.nii")]
    assert digests[0] == digests[1]
    assert content_of(tmp_path / "c.nrrd", tmp_path / "m").digest != digests[0]


@pytest.mark.parametrize(
    ("header", "text"),
    [("a.mhd", "NDims = 3\nElementDataFile = a.raw\n"), ("a.nhdr", "NRRD0004\ndata file: a.raw\n"),
     ("a.mhd", "NDims = 3\nElementDataFile = a%d.raw 1 1 1\n")],
)  # fmt: skip
def test_voxels_beside_a_header_belong_to_its_content(tmp_path, header, text, settled):
    (tmp_path / header).write_text(text)
    (tmp_path / "a.raw").write_bytes(b"x" * 100)
    before = content_of(tmp_path / header, tmp_path / "memory")
    time.sleep(0.02)
    (tmp_path / "a.raw").write_bytes(b"y" * 100)
    assert content_of(tmp_path / header, tmp_path / "memory").digest != before.digest


def test_every_slice_of_a_stack_counts(tmp_path):
    stack = tuple(tmp_path / f"{index}.npz" for index in range(3))
    for path in stack:
        path.write_bytes(b"x")
    before = content_of(stack, tmp_path / "memory")
    stack[2].write_bytes(b"y")
    assert content_of(stack, tmp_path / "memory").digest != before.digest


def test_a_damaged_memory_is_made_anew(tmp_path, settled):
    (tmp_path / "a.nii").write_bytes(b"x" * 100)
    before = content_of(tmp_path / "a.nii", tmp_path / "memory")
    (note,) = (tmp_path / "memory").iterdir()
    note.write_text("{")
    assert content_of(tmp_path / "a.nii", tmp_path / "memory") == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.nii: expected a file, got no such file"):
        content_of(tmp_path / "gone.nii", tmp_path / "memory")

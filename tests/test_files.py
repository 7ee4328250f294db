import errno

import pytest

from medseg.errors import InputError, ResourceError
from medseg.files import atomic_path, read_json, sha256, write_json, write_text


def test_an_error_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "results.json"
    write_text(target, "old")

    def fail_half_way():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_said_in_one_line_with_the_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "map.nii.gz"

    def fill_the_disk():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match=r"map\.nii\.gz: the disk is full"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_name_keeps_the_suffixes_by_which_writers_choose_a_format(tmp_path):
    with atomic_path(tmp_path / "case.nii.gz") as temporary:
        assert temporary.name.endswith("-case.nii.gz")
        assert temporary.parent == tmp_path
        temporary.touch()


def test_json_returns_as_it_was_written(tmp_path):
    content = {"organ": "Milz ä", "dsc": [0.5, None], "n": 3}
    write_json(tmp_path / "a" / "b.json", content)
    assert read_json(tmp_path / "a" / "b.json") == content


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"hd95": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "", '{"a": 1,}'])
def test_broken_json_is_refused_by_name(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: expected valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_sha256_of_abc_is_the_one_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "abc") == expected

import stat
import zipfile

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.volumes import Volume, dicom_files, find_series, read_volume
from tests.volumes.dicom_writer import write_series


@pytest.fixture
def volume():
    array = np.random.default_rng(0).integers(-1000, 2000, (6, 5, 4)).astype(np.int16)
    return Volume(array, np.diag([-0.8, -0.7, 2.5, 1.0]))


@pytest.fixture
def slices(tmp_path, volume):
    return write_series(tmp_path / "ct", volume)


def zipped(path, slices, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for index, one in enumerate(slices):
            archive.write(one, f"study/{index}")
    return path


def refused(path, match):
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputError, match=match) as error:
        read_volume(path)
    assert "\n" not in str(error.value)
    assert sorted(path.parent.rglob("*")) == before, "something was written"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_reads_as_its_folder_does(tmp_path, volume, slices, compression):
    path = zipped(tmp_path / "case.zip", slices, compression)
    read = read_volume(path)
    assert np.array_equal(read.array, volume.array)
    (series,) = find_series(path)
    assert len(series.planes) == 4


@pytest.mark.parametrize(
    "name", ["../out.dcm", "/etc/out.dcm", "a/../../out.dcm", "..\\out.dcm", "C:\\out.dcm", "\\out"]
)
def test_a_name_that_climbs_out_is_refused(tmp_path, slices, name):
    path = zipped(tmp_path / "case.zip", slices)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    refused(path, "names inside the zip's own folder")


def test_a_link_is_refused(tmp_path, slices):
    path = zipped(tmp_path / "case.zip", slices)
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "a zip without links")


@pytest.mark.parametrize("name", ["inner.zip", "inner"])
def test_a_zip_in_a_zip_is_refused(tmp_path, slices, name):
    inner = zipped(tmp_path / "inner.zip", slices)
    path = zipped(tmp_path / "case.zip", slices)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(inner, name)
    refused(path, "a zip in the zip")


def test_a_bomb_is_refused_by_its_announced_size(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_files, "SMALL_ZIP_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(4 << 20))
    refused(path, r"got 0\.0 GiB at \d+:1")
    monkeypatch.setattr(dicom_files, "LARGEST_ZIP_BYTES", 2 << 20)
    refused(path, "expected a zip of at most")


def test_a_member_larger_than_announced_is_refused(tmp_path, slices):
    path = zipped(tmp_path / "case.zip", slices)
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = (200).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, "damaged or truncated|header of an image")


def test_a_password_is_refused(tmp_path, slices):
    path = zipped(tmp_path / "case.zip", slices)
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(start) + flags] |= 1
    path.write_bytes(content)
    refused(path, "a zip without password")


def test_one_name_twice_is_refused(tmp_path, slices):
    path = zipped(tmp_path / "case.zip", slices)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("study/0", b"x")
    refused(path, "each name once")


def test_too_many_members_are_refused(tmp_path, slices, monkeypatch):
    monkeypatch.setattr(dicom_files, "MOST_MEMBERS", 3)
    refused(zipped(tmp_path / "case.zip", slices), "at most 3 files in a zip, got 4")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path, slices, part):
    path = zipped(tmp_path / "case.zip", slices)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "a readable zip, got a damaged or truncated file")


def test_a_flipped_bit_is_noticed_by_the_checksum(tmp_path, slices):
    path = zipped(tmp_path / "case.zip", slices, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    pixels = content.find(b"\xe0\x7f\x10\x00")
    content[pixels + 20] ^= 1
    path.write_bytes(content)
    refused(path, "damaged or truncated")


def test_hidden_files_of_a_mac_are_left_out(tmp_path, volume, slices):
    path = zipped(tmp_path / "case.zip", slices)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/study/._0.dcm", b"x")
        archive.writestr("study/.DS_Store", b"x")
    assert np.array_equal(read_volume(path).array, volume.array)

"""Bad images beside good ones: a reason in one line, and every good case done."""

import errno
import gzip
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg import cli
from medseg.files import read_json
from medseg.volumes import Volume, read_volume, write_volume
from tests.inference.small import SHAPE, image, truth, write_images, write_threshold_model
from tests.jobs.processes import environment

BAD = "case_001"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 3)


def _header(path, **fields):
    """Change fields of a NIfTI header and leave the voxels as they are."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(content), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))


def _nifti(array, affine=None):
    def spoil(path):
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)

    return spoil


def _as(suffix, write):
    """Put a file of another format in the place of the bad case."""

    def spoil(path):
        other = path.with_name(f"{BAD}{suffix}")
        path.unlink()
        write(other)

    return spoil


def _cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _checksum(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def _loop(path):
    path.unlink()
    path.symlink_to(path.name)


def _dangling(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


def _pixel(value):
    array = image(1).astype(np.float32)
    array[3, 4, 2] = value
    return array


def _nrrd(path, sizes, *, kind="short", encoding="raw", data=b"\0" * 64, dimension=3):
    lines = [
        "NRRD0004", f"type: {kind}", f"dimension: {dimension}", f"sizes: {sizes}",
        f"encoding: {encoding}", "endian: little", "", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + data)


def _mha(path, sizes, data=b"\0" * 64):
    lines = [
        "ObjectType = Image", "NDims = 3", f"DimSize = {sizes}", "ElementType = MET_SHORT",
        "ElementDataFile = LOCAL", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + data)


def _colour(path):
    colours = np.zeros((*SHAPE[::-1], 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(path))


SHEAR = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
HUGE = "60000 60000 60000"
SIZES = "as its header says"
FAULTS = {
    "truncated": (_cut(0.6), "damaged or truncated"),
    "only a few bytes": (_cut(0.02), "damaged or truncated"),
    "no byte at all": (lambda path: path.write_bytes(b""), "damaged or truncated"),
    "wrong checksum": (_checksum, "damaged or truncated"),
    "text": (lambda path: path.write_text("no volume"), "damaged or truncated"),
    "wrong magic": (lambda path: path.write_bytes(gzip.compress(b"\7" * 900)), "damaged"),
    "a folder's name": (_as(".nrrd", lambda path: path.mkdir()), None),
    "no slice": (lambda path: _header(path, dim=[3, 12, 12, 0, 1, 1, 1, 1]), ""),
    "negative size": (
        lambda path: _header(path, dim=[3, 12, -12, 4, 1, 1, 1, 1]), "at least one voxel",
    ),
    "huge size": (lambda path: _header(path, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "damaged"),
    "voxels far behind": (lambda path: _header(path, vox_offset=1e9), "damaged"),
    "type of no number": (lambda path: _header(path, datatype=3, bitpix=77), "damaged"),
    "NaN": (_nifti(_pixel(np.nan)), "NaN or infinity"),
    "infinity": (_nifti(_pixel(np.inf)), "NaN or infinity"),
    "four axes": (_nifti(np.zeros((*SHAPE, 3), np.int16)), "a 3D volume"),
    "two axes": (_nifti(np.zeros(SHAPE[:2], np.int16)), "a 3D volume"),
    "complex": (_nifti(np.zeros(SHAPE, np.complex64)), "one real number per voxel"),
    "colour": (
        _nifti(np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))),
        "one real number per voxel",
    ),
    "colour NRRD": (_as(".nrrd", _colour), "one number per voxel"),
    "shear": (_nifti(image(1), SHEAR), "axes at right angles"),
    "singular affine": (
        lambda path: _header(path, srow_x=0, srow_y=0, srow_z=0, sform_code=1, qform_code=0),
        "an affine that places every voxel",
    ),
    "affine of NaN": (
        lambda path: _header(path, srow_x=np.nan, sform_code=1, qform_code=0), "",
    ),
    "loop of links": (_loop, "symbolic links"),
    "link to nowhere": (_dangling, "no such file"),
    "huge NRRD": (_as(".nrrd", lambda path: _nrrd(path, HUGE)), SIZES),
    "huge packed NRRD": (
        _as(".nrrd", lambda path: _nrrd(path, HUGE, encoding="gzip", data=gzip.compress(b"ab"))),
        SIZES,
    ),
    "large NRRD": (_as(".nrrd", lambda path: _nrrd(path, "3000 3000 1000")), SIZES),
    "NRRD of no kind": (_as(".nrrd", lambda path: _nrrd(path, "4 4 4", kind="block")), "damaged"),
    "NRRD without voxels": (_as(".nrrd", lambda path: _nrrd(path, "4 4 4", data=b"")), "damaged"),
    "NRRD with other voxels": (
        _as(".nrrd", lambda path: path.write_text("NRRD0004\ndata file: ../../etc/passwd\n\n")),
        "",
    ),
    "huge MHA": (_as(".mha", lambda path: _mha(path, HUGE)), SIZES),
    "large MHA": (_as(".mha", lambda path: _mha(path, "3000 3000 1000")), SIZES),
    "MHA of no size": (_as(".mha", lambda path: _mha(path, "4 0 4")), ""),
    "pickle": (
        _as(".npy", lambda path: np.save(path, np.array([{}], object), allow_pickle=True)),
        "damaged",
    ),
}  # fmt: skip


def run(images, output, model, capsys):
    command = ["predict", "-i", str(images), "-o", str(output), "-m", str(model)]
    code = cli.run([*command, "--no-progress", "--device", "cpu", "--precision", "float32"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, said.splitlines()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_image_is_told_in_one_line_and_the_good_ones_are_done(
    fault, images, tmp_path, model, capsys
):
    spoil, reason = FAULTS[fault]
    spoil(images / f"{BAD}.nii.gz")
    code, lines = run(images, tmp_path / "out", model, capsys)
    manifest = read_json(tmp_path / "out" / "predictions.json")
    found = {case["case_id"]: case for case in manifest["cases"]}
    for number in (0, 2):
        case = found[f"case_{number:03d}"]
        assert case["status"] == "done"
        array = read_volume(tmp_path / "out" / case["prediction"]).array
        np.testing.assert_array_equal(array, truth(number))
    if reason is None:  # not taken for a case at all
        assert code == 0
        assert BAD not in found
        return
    assert code == 4, lines
    assert found[BAD]["status"] == "failed"
    error = found[BAD]["error"]
    assert reason in error
    assert BAD in error
    assert "\n" not in error
    assert [line for line in lines if line.startswith("failed: ")] == [f"failed: {BAD}: {error}"]
    assert lines[-1] == "medseg: 1 of 3 cases failed; the others are written"
    assert not list((tmp_path / "out").glob(f"*{BAD}*"))


def test_one_good_slice_and_one_voxel_are_enough(tmp_path, model, capsys):
    for name, shape in (("slice", (12, 12, 1)), ("voxel", (1, 1, 1))):
        write_volume(
            tmp_path / "in" / f"{name}.nii.gz", Volume(np.ones(shape, np.int16), np.eye(4))
        )
    assert run(tmp_path / "in", tmp_path / "out", model, capsys)[0] == 0


LISTS = {
    "empty CSV": ("a.csv", "", "a column 'image'"),
    "CSV without image": ("a.csv", "case_id,file\n1,a.nii\n", "a column 'image'"),
    "CSV without rows": ("a.csv", "case_id,image\n", "at least one volume"),
    "row without image": ("a.csv", "case_id,image\n1,\n", "none in line 2"),
    "two of one name": (
        "a.csv", "case_id,image\n1,case_000.nii.gz\n1,case_002.nii.gz\n", "several for 1",
    ),
    "a name that climbs": ("a.csv", "case_id,image\n../1,case_000.nii.gz\n", "plain file names"),
    "a hidden name": ("a.csv", "case_id,image\n.x,case_000.nii.gz\n", "plain file names"),
    "no text": ("a.csv", b"\xff\xfe\0\0\1", "a CSV table in UTF-8"),
    "no JSON": ("a.json", "{", "valid JSON"),
    "JSON of nothing": ("a.json", "[]", "a case list"),
    "JSON without image": ("a.json", '{"cases": [{"case_id": "1"}]}', "'case_id' and 'image'"),
    "deep JSON": ("a.json", "[" * 100_000, "valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LISTS)
def test_a_bad_list_is_refused_as_a_whole(fault, images, tmp_path, model, capsys):
    name, content, reason = LISTS[fault]
    path = images / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, lines = run(path, tmp_path / "out", model, capsys)
    assert code == 3, lines
    assert len(lines) == 1
    assert reason in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_table_names_images_and_their_cases(images, tmp_path, model, capsys):
    text = "\ufeffcase_id, image\nann,case_000.nii.gz\nbob,missing.nii.gz\n,case_002.nii.gz\n"
    (images / "a.csv").write_text(text, encoding="utf-8")
    code, lines = run(images / "a.csv", tmp_path / "out", model, capsys)
    assert code == 4
    assert "missing.nii.gz: expected a file, got no such file" in lines[-2]
    names = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    assert names == ["ann.nii.gz", "case_002.nii.gz"]
    found = read_volume(tmp_path / "out" / "ann.nii.gz").array
    np.testing.assert_array_equal(found, truth(0))


def test_a_table_needs_no_case_ids(images, tmp_path, model, capsys):
    (images / "a.csv").write_text(f"image\ncase_000.nii.gz\n{images}/case_001.nii.gz\n")
    assert run(images / "a.csv", tmp_path / "out", model, capsys)[0] == 0


def test_a_loop_of_links_as_input_is_told(tmp_path, model, capsys):
    (tmp_path / "loop").symlink_to("loop")
    code, lines = run(tmp_path / "loop", tmp_path / "out", model, capsys)
    assert code == 3
    assert "got too many levels of symbolic links" in lines[0]


def test_free_file_names_are_kept(tmp_path, model, capsys):
    names = ["Scan 1 (ä).nii.gz", "a.b.c.nrrd", "-x.mha", "'quoted'.nii", "x" * 180 + ".nii"]
    for name in names:
        write_volume(tmp_path / "in" / name, Volume(image(0), np.eye(4)))
    assert run(tmp_path / "in", tmp_path / "out", model, capsys)[0] == 0
    found = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    wanted = ["Scan 1 (ä)", "a.b.c", "-x", "'quoted'", "x" * 180]
    assert found == sorted(f"{name}.nii.gz" for name in wanted)


ROOT = os.geteuid() == 0
WEAK = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if ROOT else ()


@pytest.mark.slow
@pytest.mark.skipif(ROOT and shutil.which("setpriv") is None, reason="root reads everything")
def test_images_that_one_may_not_read_are_told(images, tmp_path, model):
    (images / f"{BAD}.nii.gz").chmod(0)
    command = [*WEAK, sys.executable, "-m", "medseg", "predict", "-i", str(images), "-o",
               str(tmp_path / "out"), "-m", str(model), "--no-progress"]  # fmt: skip
    done = shell(*command)
    assert done.returncode == 4, done.stderr
    assert f"failed: {BAD}: " in done.stderr
    assert "ermission denied" in done.stderr
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2
    images.chmod(0)
    try:
        done = shell(*command)
    finally:
        images.chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "permission denied" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs root")
def test_a_disk_that_is_full_stops_the_job_which_goes_on_with_more_room(tmp_path, model):
    rng = np.random.default_rng(0)
    for number in range(4):
        noise = rng.integers(0, 300, (96, 96, 40)).astype(np.int16)
        write_volume(tmp_path / "images" / f"case_{number}.nii.gz", Volume(noise, np.eye(4)))
    disk = tmp_path / "disk"
    disk.mkdir()
    if shell("mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)).returncode:
        pytest.skip("this machine does not let one mount a small disk")
    command = [sys.executable, "-m", "medseg", "predict", "-i", str(tmp_path / "images"), "-o",
               str(disk / "out"), "-m", str(model), "--no-progress"]  # fmt: skip
    try:
        done = shell(*command)
        assert done.returncode == 5, done.stderr
        assert "the disk is full" in done.stderr
        written = list((disk / "out").glob("*.nii.gz"))
        assert 0 < len(written) < 4
        for path in written:
            gzip.decompress(path.read_bytes())
        assert not list((disk / "out").glob(".tmp-*"))
        assert shell("mount", "-o", "remount,size=4m", str(disk)).returncode == 0
        done = shell(*command)
        assert done.returncode == 0, done.stderr
    finally:
        shell("umount", str(disk))


def shell(*command):
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )


def test_a_disk_that_fills_up_stops_the_job_with_five(images, tmp_path, model, capsys, monkeypatch):
    real = os.fsync

    def full(descriptor):
        if BAD in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    code, lines = run(images, tmp_path / "out", model, capsys)
    assert code == 5
    assert "the disk is full" in lines[-1]
    assert not list((tmp_path / "out").glob(".tmp-*"))

import nibabel as nib
import numpy as np
import pytest

from medseg.datasets import decathlon, phantom
from medseg.errors import InputError, ResourceError, UsageError
from medseg.files import read_json
from medseg.volumes import corner_distance_mm, read_header, read_volume

TINY = (40, 40, 16)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    return phantom.write(root, counts={"train": 2, "val": 1, "test": 1}, size=TINY)


def test_the_same_seed_and_index_give_the_same_case_and_others_another():
    one, again = phantom.make_case(3, 7, TINY), phantom.make_case(3, 7, TINY)
    for first, second in zip(one, again, strict=True):
        assert np.array_equal(first.array, second.array)
        assert np.array_equal(first.affine, second.affine)
    for seed, index in ((3, 8), (4, 7)):
        other, _ = phantom.make_case(seed, index, TINY)
        assert other.array.shape != one[0].array.shape or (other.array != one[0].array).any()


def test_the_slabs_a_case_is_painted_in_do_not_show(monkeypatch):
    whole, _ = phantom.make_case(0, 1, TINY)
    monkeypatch.setattr("medseg.datasets._phantom.scan.SLAB_VOXELS", 40 * 40 * 3)
    slabs, _ = phantom.make_case(0, 1, TINY)
    assert np.array_equal(whole.array, slabs.array)


def test_image_and_label_share_a_grid_and_are_as_small_as_they_can_be():
    image, label = phantom.make_case(0, 0, TINY)
    assert image.array.shape == label.array.shape
    assert np.array_equal(image.affine, label.affine)
    assert (image.array.dtype, label.array.dtype) == (np.int16, np.uint8)
    assert image.array.min() >= -1024
    assert set(np.unique(label.array)) <= {0, *phantom.LABELS.values()}


def test_spacing_shrinks_with_the_matrix_and_the_field_of_view_stays():
    small, _ = phantom.make_case(0, 2, (32, 32, 10))
    large, _ = phantom.make_case(0, 2, (64, 64, 20))
    assert np.multiply(small.spacing, small.array.shape) == pytest.approx(
        np.multiply(large.spacing, large.array.shape)
    )
    assert np.allclose(np.divide(small.spacing, large.spacing), 2)


def test_written_files_have_the_geometry_of_the_case(written):
    image, label = phantom.make_case(0, 1, TINY)
    case = phantom.cases(written, split="train")[1]
    for path, volume in ((case.image, image), (case.label, label)):
        reopened = read_volume(path)
        assert np.array_equal(reopened.array, volume.array)
        assert reopened.array.dtype == volume.array.dtype
        assert corner_distance_mm(reopened, volume, volume.array.shape) < 1e-3


def test_image_and_label_files_share_their_grid(written):
    for split in ("train", "val", "test"):
        for case in phantom.cases(written, split=split):
            one, other = read_header(case.image), read_header(case.label)
            assert one.shape == other.shape
            assert corner_distance_mm(one, other, one.shape) < 1e-3


def test_cases_name_their_labels_patient_and_group(written):
    (case,) = phantom.cases(written, split="val")
    assert (case.case_id, case.patient) == ("phantom_val_0000", "phantom_val_0000")
    assert dict(case.labels) == phantom.LABELS
    assert set(case.group) == {"phase", "orientation"}
    assert nib.aff2axcodes(read_header(case.image).affine) == tuple(case.group["orientation"])


def test_it_can_be_read_as_a_decathlon_data_set(written):
    survey = decathlon.survey(written)
    assert survey.problems == []
    ours, theirs = (module.cases(written, split="test") for module in (phantom, decathlon))
    assert [(c.case_id, c.image, dict(c.labels)) for c in ours] == [
        (c.case_id, c.image, dict(c.labels)) for c in theirs
    ]


def files_of(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".tmp")
    }


def test_neither_workers_nor_the_number_of_cases_change_a_case(written, tmp_path):
    counts = {"train": 3, "val": 1, "test": 1}
    more = files_of(phantom.write(tmp_path / "more", counts=counts, size=TINY, workers=2))
    for path, content in files_of(written).items():
        if path.suffix == ".gz":
            assert more[path] == content, path


def test_a_second_call_keeps_what_is_there_and_mends_what_is_not(tmp_path):
    counts = {"train": 2, "test": 1}
    root = phantom.write(tmp_path, counts=counts, size=TINY)
    before = files_of(root)
    kept, spoilt, lost = (root / "images" / f"phantom_{n}.nii.gz" for n in CASE_NAMES)
    stamp = kept.stat().st_mtime_ns
    spoilt.write_bytes(spoilt.read_bytes()[:500])
    lost.unlink()
    phantom.write(tmp_path, counts=counts, size=TINY)
    assert files_of(root) == before
    assert kept.stat().st_mtime_ns == stamp


CASE_NAMES = ("train_0000", "train_0001", "test_0000")


def test_a_data_set_can_grow(tmp_path):
    phantom.write(tmp_path, counts={"train": 1}, size=TINY)
    stamp = (tmp_path / "labels" / "phantom_train_0000.nii.gz").stat().st_mtime_ns
    phantom.write(tmp_path, counts={"train": 2, "val": 1}, size=TINY)
    assert (tmp_path / "labels" / "phantom_train_0000.nii.gz").stat().st_mtime_ns == stamp
    assert [len(phantom.cases(tmp_path, split=split)) for split in ("train", "val")] == [2, 1]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"size": (32, 32, 16)}, {"counts": {"train": 1, "val": 0}}]
)
def test_a_folder_made_with_other_settings_is_refused_unless_overwritten(tmp_path, other):
    settings = {"counts": {"train": 1, "val": 1}, "size": TINY, "seed": 0}
    phantom.write(tmp_path, **settings)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"phantom made with.*overwrite"):
        phantom.write(tmp_path, **(settings | other))
    assert files_of(tmp_path) == before
    phantom.write(tmp_path, **(settings | other), overwrite=True)
    listed = {case.image for s in ("train", "val") for case in phantom.cases(tmp_path, split=s)}
    assert set((tmp_path / "images").iterdir()) == listed


def test_a_folder_with_other_data_is_left_alone_even_when_overwriting(tmp_path):
    (tmp_path / "images").mkdir()
    precious = tmp_path / "images" / "patient.nii.gz"
    precious.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"other data \(images\)"):
        phantom.write(tmp_path, counts={"train": 1}, size=TINY, overwrite=True)
    assert files_of(tmp_path) == {precious.relative_to(tmp_path): b"precious"}


def test_progress_hears_of_every_case(tmp_path):
    heard = []
    phantom.write(
        tmp_path,
        counts={"train": 2},
        size=TINY,
        progress=lambda _, done, total, note="": heard.append((done, total, note)),
    )
    assert heard == [(0, 2, ""), (1, 2, "phantom_train_0000"), (2, 2, "phantom_train_0001")]


def test_wrong_arguments_are_named(tmp_path, written):
    with pytest.raises(UsageError, match="seed must be 0 or more, got -1"):
        phantom.make_case(-1, 0, TINY)
    with pytest.raises(UsageError, match="index must be 0 or more, got -2"):
        phantom.make_case(0, -2, TINY)
    with pytest.raises(UsageError, match=r"size must be three.*got \(4, 40, 40\)"):
        phantom.make_case(0, 0, (4, 40, 40))
    with pytest.raises(UsageError, match=r"counts must be.*'training': 3"):
        phantom.write(tmp_path, counts={"training": 3}, size=TINY)
    with pytest.raises(UsageError, match="split must be one of train, val, test, got 'dev'"):
        phantom.cases(written, split="dev")
    with pytest.raises(InputError, match="no such file"):
        phantom.cases(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_the_manifest_tells_generator_seed_and_size(written):
    settings = read_json(written / "phantom.json")["settings"]
    assert settings == {
        "generator_version": phantom.GENERATOR_VERSION,
        "seed": 0,
        "size": list(TINY),
    }


def test_what_was_finished_before_an_error_is_kept(tmp_path, monkeypatch):
    make = phantom.scan_case

    def full_disk_at_the_second_case(seed, index, size):
        if index == 1:
            raise ResourceError("the disk is full")
        return make(seed, index, size)

    monkeypatch.setattr(phantom, "scan_case", full_disk_at_the_second_case)
    with pytest.raises(ResourceError, match="the disk is full"):
        phantom.write(tmp_path, counts={"train": 2}, size=TINY)
    stamp = (tmp_path / "images" / "phantom_train_0000.nii.gz").stat().st_mtime_ns
    monkeypatch.undo()
    phantom.write(tmp_path, counts={"train": 2}, size=TINY)
    assert (tmp_path / "images" / "phantom_train_0000.nii.gz").stat().st_mtime_ns == stamp
    assert len(phantom.cases(tmp_path)) == 2


def test_an_unfinished_data_set_is_not_handed_out(tmp_path):
    phantom.write(tmp_path, counts={"train": 1}, size=TINY)
    (tmp_path / "splits.json").write_text('{"train": ["phantom_train_0000", "phantom_train_0001"]}')
    with pytest.raises(InputError, match="no case phantom_train_0001; write it again"):
        phantom.cases(tmp_path)


def test_an_excerpt_lies_on_the_grid_that_was_asked_for_and_shows_organs():
    shape, spacing = (40, 32, 12), (6.0, 7.0, 9.0)
    image, label = phantom.make_excerpt(0, 3, shape=shape, spacing=spacing)
    assert image.array.shape == label.array.shape == shape
    np.testing.assert_allclose(image.spacing, spacing)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert len(np.unique(label.array)) > 5
    left, right = (np.argwhere(label.array == phantom.LABELS[f"{side} kidney"])[:, 0].mean()
                   for side in ("left", "right"))  # fmt: skip
    assert left < right  # the first axis runs to the right
    with pytest.raises(UsageError, match="spacing above 0"):
        phantom.make_excerpt(0, 3, shape=shape, spacing=(1.0, 0.0, 1.0))

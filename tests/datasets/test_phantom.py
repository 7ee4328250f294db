import nibabel as nib
import numpy as np
import pytest

from medseg.datasets import decathlon, phantom
from medseg.datasets._phantom.scan import scan_case
from medseg.errors import InputError, UsageError
from medseg.files import read_json
from medseg.volumes import corner_distance_mm, read_header, read_volume

TINY = (40, 40, 16)
COARSE = (80, 80, 40)
SEEDS = range(20)
LOWEST, HIGHEST = np.full(3, -np.inf), np.full(3, np.inf)  # of organs outside the field of view


@pytest.fixture(scope="module")
def made():
    return [scan_case(seed, 0, COARSE) for seed in SEEDS]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    return phantom.write(root, counts={"train": 2, "val": 1, "test": 1}, size=TINY)


def organ_voxels(label, organ):
    return np.argwhere(label.array == phantom.LABELS[organ])


def world(volume, voxels):
    return voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def centres(label, body_origin):
    """Middle of every organ in mm from the first lumbar vertebra: right, front, head."""
    found = {organ: organ_voxels(label, organ) for organ in phantom.LABELS}
    return {
        organ: world(label, voxels).mean(axis=0) - body_origin
        for organ, voxels in found.items()
        if len(voxels) > 30
    }


def canonical(volume):
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
    return np.asarray(image.dataobj)


def touches_end(label, organ):
    """Whether the organ reaches the first or last axial slice, so that the scan may cut it."""
    here = (canonical(label) == phantom.LABELS[organ]).any(axis=(0, 1))
    return bool(here[0] or here[-1]) or not here.any()


def test_the_eight_organs_are_numbered_as_in_synapse():
    assert list(phantom.LABELS.items()) == [
        ("spleen", 1),
        ("right kidney", 2),
        ("left kidney", 3),
        ("gallbladder", 4),
        ("liver", 5),
        ("stomach", 6),
        ("aorta", 7),
        ("pancreas", 8),
    ]


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


def test_orientations_spacings_and_phases_differ_between_cases(made):
    codes = {nib.aff2axcodes(image.affine) for image, _, _, _ in made}
    assert len(codes) >= 5
    assert any("L" in code for code in codes)
    assert any("R" in code for code in codes)
    assert any(code[2] not in "SI" for code in codes)  # axes swapped, not only turned round
    assert len({tuple(np.round(sorted(image.spacing), 3)) for image, _, _, _ in made}) > 15
    assert {body.patient.phase for _, _, body, _ in made} == {"native", "arterial", "venous"}


def test_organs_lie_on_their_side_of_the_body_in_every_orientation(made):
    for _, label, _, scan in made:
        at = centres(label, scan.origin)
        for organ in at.keys() & {"liver", "gallbladder", "right kidney"}:
            assert at[organ][0] > 25, organ  # RAS: x grows to the patient's right
        for organ in at.keys() & {"spleen", "stomach", "left kidney"}:
            assert at[organ][0] < -15, organ
        assert -35 < at["aorta"][0] < 8
        behind = (
            ("right kidney", "gallbladder"),
            ("left kidney", "pancreas"),
            ("aorta", "pancreas"),
        )
        for back, front in behind:
            assert at.get(back, LOWEST)[1] < at.get(front, HIGHEST)[1], (back, front)
        assert at.get("right kidney", LOWEST)[2] < at.get("liver", HIGHEST)[2]


def test_the_pancreas_crosses_the_midline(made):
    for _, label, _, scan in made:
        if not touches_end(label, "pancreas"):
            x = world(label, organ_voxels(label, "pancreas"))[:, 0] - scan.origin[0]
            assert x.min() < -30
            assert x.max() > 12


HUMAN_ML = {  # adults; wide, since they must hold for every seed
    "spleen": (60, 480),
    "right kidney": (75, 280),
    "left kidney": (75, 280),
    "gallbladder": (14, 85),
    "liver": (1000, 2400),
    "stomach": (100, 900),
    "pancreas": (40, 140),
}


def test_organs_that_the_scan_does_not_cut_have_human_volumes(made):
    for seed, (_, label, _, _) in zip(SEEDS, made, strict=True):
        millilitres = np.prod(label.spacing) / 1000
        for organ, (low, high) in HUMAN_ML.items():
            if not touches_end(label, organ):
                volume = len(organ_voxels(label, organ)) * millilitres
                assert low < volume < high, (seed, organ)


def test_the_aorta_is_about_two_centimetres_wide(made):
    for _, label, _, _ in made:
        aorta = canonical(label) == phantom.LABELS["aorta"]
        pixel = sorted(label.spacing)[:2]
        per_slice = aorta.sum(axis=(0, 1))
        area = np.median(per_slice[per_slice > 0]) * pixel[0] * pixel[1]
        assert 14 < 2 * np.sqrt(area / np.pi) < 32


def test_every_organ_is_in_most_cases(made):
    for organ in phantom.LABELS:
        seen = sum(len(organ_voxels(label, organ)) > 20 for _, label, _, _ in made)
        assert seen >= 17, organ


def test_some_organs_are_cut_by_the_field_of_view(made):
    assert any(touches_end(label, "liver") for _, label, _, _ in made)
    assert any(touches_end(label, "right kidney") for _, label, _, _ in made)
    assert not all(touches_end(label, "right kidney") for _, label, _, _ in made)


def test_organs_have_the_intensity_of_their_tissue(made):
    for image, label, body, _ in made:
        hu = body.patient.hu
        for organ in ("spleen", "liver", "aorta", "pancreas"):
            inside = image.array[label.array == phantom.LABELS[organ]]
            if len(inside) < 100:
                continue
            assert np.median(inside) == pytest.approx(hu[organ], abs=0.1 * hu[organ] + 16), organ
        bile = image.array[label.array == phantom.LABELS["gallbladder"]]
        assert not len(bile) or -15 < np.median(bile) < 45


def test_kidneys_and_aorta_take_up_contrast_but_not_in_a_native_scan(made):
    for image, label, body, _ in made:
        for organ in ("aorta", "left kidney"):
            inside = image.array[label.array == phantom.LABELS[organ]]
            if len(inside) < 100:
                continue
            assert (np.median(inside) < 70) == (body.patient.phase == "native"), organ


def test_around_the_patient_is_air_and_below_the_skin_is_fat(made):
    for image, label, _, _ in made:
        ras = canonical(image)
        corner = ras[:3, -3:]
        assert np.median(corner) < -900
        fat = ((ras > -140) & (ras < -60)).mean()
        assert 0.03 < fat < 0.6
        assert (canonical(label)[(ras < -1000)] == 0).mean() > 0.99


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

import nibabel as nib
import numpy as np
import pytest

from medseg.datasets import phantom
from medseg.datasets._phantom.scan import scan_case

COARSE = (80, 80, 40)
SEEDS = range(20)
LOWEST, HIGHEST = np.full(3, -np.inf), np.full(3, np.inf)  # of organs outside the field of view


@pytest.fixture(scope="module")
def made():
    return [scan_case(seed, 0, COARSE) for seed in SEEDS]


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

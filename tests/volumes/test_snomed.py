import pytest
from pydicom.sr._concepts_dict import concepts

from medseg.datasets import acdc, synapse
from medseg.volumes import snomed
from medseg.volumes.snomed import concept_of, concepts_of

PYDICOM = {
    scheme: {
        (code, meaning.lower())
        for entries in concepts[scheme].values()
        for code, (meaning, _) in entries.items()
    }
    for scheme in ("SCT", "NCIt")
}
NOT_IN_PYDICOM = {  # from TotalSegmentator's table
    *snomed.RIBS, "65985001", "110765007", "74281007",
    "244849004", "68455001", "181674001", "78333006", "75297007",
}  # fmt: skip


def every_code():
    sides = [*snomed.SIDES.values(), *snomed.PARTS.values()]
    kinds = [*snomed._organs().values(), *snomed._lesions().values()]
    return sorted({*kinds, *sides, snomed.ANATOMICAL, snomed.ABNORMAL, snomed.TISSUE})


@pytest.mark.parametrize("code", every_code(), ids=lambda code: code.meaning)
def test_codes_and_meanings_are_those_of_the_standard(code):
    known = {value for value, _ in PYDICOM[code.scheme]}
    if code.value in NOT_IN_PYDICOM:
        assert code.value not in known
    else:
        assert (code.value, code.meaning.lower()) in PYDICOM[code.scheme]


@pytest.mark.parametrize("name", [*synapse.LABELS, *acdc.LABELS, "RV", "Myo", "LV"])
def test_every_organ_of_the_published_sets_has_a_code_of_its_own(name):
    assert concept_of(name).category == snomed.ANATOMICAL


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("liver", "10200004", None),
        ("kidney_left", "64033007", "Left"),
        ("Right Kidney", "64033007", "Right"),
        ("Kidney (L)", "64033007", "Left"),
        ("oesophagus", "32849002", None),
        ("rib_right_12", "43993008", "Right"),
        ("vertebrae_T11", "12989004", None),
        ("vertebrae_L1", "66794005", None),
        ("heart_ventricle_left", "87878005", None),
        ("lung_upper_lobe_left", "45653009", "Left"),
        ("lung_middle_lobe_right", "72481006", None),
        ("portal_vein_and_splenic_vein", "110765007", None),
        ("enhancing tumour", "C113842", None),
        ("peritumoral edema", "79654002", None),
    ],
)
def test_names_are_matched_however_they_are_spelt(name, code, side):
    concept = concept_of(name)
    assert concept.kind.value == code
    assert [modifier.meaning for modifier in concept.modifiers] == ([side] if side else [])


def test_a_lesion_named_after_its_organ_has_it_as_region():
    concept = concept_of("kidney_cyst_left")
    assert (concept.category.meaning, concept.kind.meaning) == (
        "Morphologically Abnormal Structure",
        "Cyst",
    )
    assert concept.region.meaning == "Kidney"
    assert concept_of("liver tumour").region.meaning == "Liver"


def test_anterior_and_posterior_alone_are_the_hippocampus():
    found = concepts_of(["Anterior", "Posterior"])
    assert {concept.kind.meaning for concept in found.values()} == {"Hippocampus"}
    assert found["Anterior"].modifiers[0].meaning == "Anterior"
    assert concepts_of(["anterior", "liver"])["anterior"] == snomed.UNKNOWN


def test_an_unknown_name_is_tissue():
    assert concept_of("widget") == snomed.UNKNOWN
    assert concept_of("widget left").modifiers[0].meaning == "Left"
    assert concept_of("") == snomed.UNKNOWN

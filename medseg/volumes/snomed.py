"""Organ names to the codes that DICOM segments carry.

Sources: DICOM PS3.16, context groups 7150 and 7151 with those they include, 244 (sides) and 7159
(lesions), in the SNOMED CT codes that pydicom lists; for ribs, muscles of the back and hip, S1, the
heart's muscle and the portal and splenic veins together, which pydicom does not list, the table
that TotalSegmentator publishes with its label names.

A name is taken as a set of words: ``left kidney``, ``kidney_left`` and ``Kidney (L)`` are one. Left
and right are modifiers, as the standard has them, save where a side is a structure of its own (the
left ventricle). A lesion named after its organ (``liver tumour``) is coded as the lesion, with the
organ as its region. Any other name is coded as :data:`UNKNOWN`, which is ``Tissue``: the standard's
word for what is not specified further. The name itself always travels as the segment's label.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept: value and meaning, and the scheme that defines it."""

    value: str
    meaning: str
    scheme: str = "SCT"


@dataclass(frozen=True)
class Concept:
    """What a segment is.

    Attributes:
        category: What kind of thing.
        kind: Which one.
        modifiers: Its side, or which part of it.
        region: Where a lesion sits; ``None`` if the name does not say.
    """

    category: Code
    kind: Code
    modifiers: tuple[Code, ...] = ()
    region: Code | None = None


ANATOMICAL = Code("91723000", "Anatomical Structure")
ABNORMAL = Code("49755003", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "Tissue")
UNKNOWN = Concept(TISSUE, TISSUE)
SIDES = {"left": Code("7771000", "Left"), "right": Code("24028007", "Right")}
PARTS = {"anterior": Code("255549009", "Anterior"), "posterior": Code("255551008", "Posterior")}
SHORT_SIDES = {"l": "left", "r": "right"}
WORDS = {"tumour": "tumor", "tumours": "tumor", "tumors": "tumor", "vertebrae": "vertebra"}
FILLERS = ("and", "of", "the")
HIPPOCAMPUS = frozenset(PARTS)  # the label names of the Decathlon's task, which say no more

ORGANS = (
    ("78961009", "Spleen", "spleen"),
    ("64033007", "Kidney", "kidney, kidneys"),
    ("28231008", "Gallbladder", "gallbladder, gall bladder"),
    ("32849002", "Esophagus", "esophagus, oesophagus"),
    ("10200004", "Liver", "liver"),
    ("69695003", "Stomach", "stomach"),
    ("15825003", "Aorta", "aorta"),
    ("64131007", "Inferior vena cava", "inferior vena cava, ivc, postcava"),
    ("48345005", "Superior vena cava", "superior vena cava, svc"),
    ("110765007", "Portal vein and splenic vein", "portal splenic vein, portal splenic veins"),
    ("32764006", "Portal vein", "portal vein"),
    ("35819009", "Splenic vein", "splenic vein"),
    ("15776009", "Pancreas", "pancreas"),
    ("23451007", "Adrenal gland", "adrenal gland, adrenal glands, adrenal"),
    ("38848004", "Duodenum", "duodenum"),
    ("30315005", "Small intestine", "small intestine, small bowel"),
    ("71854001", "Colon", "colon"),
    ("34402009", "Rectum", "rectum"),
    ("89837001", "Bladder", "bladder, urinary bladder"),
    ("41216001", "Prostate", "prostate"),
    ("35039007", "Uterus", "uterus"),
    ("39607008", "Lung", "lung, lungs"),
    ("45653009", "Upper lobe of lung", "lung upper lobe"),
    ("90572001", "Lower lobe of lung", "lung lower lobe"),
    ("72481006", "Middle lobe of right lung", "lung middle lobe right, lung middle lobe"),
    ("44567001", "Trachea", "trachea"),
    ("69748006", "Thyroid", "thyroid, thyroid gland"),
    ("80891009", "Heart", "heart"),
    ("87878005", "Left ventricle", "left ventricle, heart ventricle left, lv"),
    ("53085002", "Right ventricle", "right ventricle, heart ventricle right, rv"),
    ("49848007", "Left Ventricle Myocardium", "left ventricle myocardium, "
     "left ventricular myocardium, lv myocardium"),
    ("74281007", "Myocardium", "myocardium, heart myocardium, myo"),
    ("82471001", "Left atrium", "left atrium, heart atrium left, la"),
    ("73829009", "Right atrium", "right atrium, heart atrium right, ra"),
    ("33626005", "Left auricular appendage", "atrial appendage left"),
    ("81040000", "Pulmonary artery", "pulmonary artery"),
    ("122972007", "Pulmonary vein", "pulmonary vein, pulmonary veins"),
    ("12691009", "Brachiocephalic trunk", "brachiocephalic trunk"),
    ("8887007", "Brachiocephalic vein", "brachiocephalic vein"),
    ("36765005", "Subclavian artery", "subclavian artery"),
    ("32062004", "Common carotid artery", "common carotid artery"),
    ("73634005", "Common iliac artery", "iliac artery, common iliac artery"),
    ("46027005", "Common iliac vein", "iliac vena, iliac vein, common iliac vein"),
    ("12738006", "Brain", "brain"),
    ("5366008", "Hippocampus", "hippocampus"),
    ("2748008", "Spinal cord", "spinal cord"),
    ("18234004", "Optic nerve", "optic nerve"),
    ("244453006", "Optic chiasm", "optic chiasm"),
    ("79652003", "Eyeball", "eye, eyeball"),
    ("45289007", "Parotid gland", "parotid, parotid gland"),
    ("54019009", "Submandibular gland", "submandibular gland"),
    ("89546000", "Skull", "skull"),
    ("91609006", "Mandible", "mandible"),
    ("51299004", "Clavicle", "clavicle, clavicula"),
    ("79601000", "Scapula", "scapula"),
    ("85050009", "Humerus", "humerus"),
    ("56873002", "Sternum", "sternum"),
    ("50016007", "Costal Cartilage", "costal cartilage, costal cartilages"),
    ("54735007", "Sacrum", "sacrum"),
    ("29836001", "Hip", "hip"),
    ("71341001", "Femur", "femur"),
    ("244849004", "Deep muscle of back", "autochthon, autochthonous back muscle"),
    ("68455001", "Iliopsoas muscle", "iliopsoas, iliopsoas muscle"),
    ("181674001", "Gluteus maximus muscle", "gluteus maximus, gluteus maximus muscle"),
    ("78333006", "Gluteus medius muscle", "gluteus medius, gluteus medius muscle"),
    ("75297007", "Gluteus minimus muscle", "gluteus minimus, gluteus minimus muscle"),
)  # fmt: skip
"""Code, meaning and names of structures; names without their side where it is a modifier."""

RIBS = (
    "48535007", "78247007", "25888004", "25523003", "15339008", "59558009",
    "24915002", "5953002", "22565002", "77644006", "58830002", "43993008",
)  # fmt: skip
ORDINALS = (
    "First", "Second", "Third", "Fourth", "Fifth", "Sixth",
    "Seventh", "Eighth", "Ninth", "Tenth", "Eleventh", "Twelfth",
)  # fmt: skip
VERTEBRAE = {
    "C": ("14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"),
    "T": (
        "64864005", "53733008", "1626008", "73071006", "56401006", "45296009",
        "62487009", "11068009", "82687006", "7610001", "12989004", "23215003",
    ),
    "L": ("66794005", "14293000", "36470004", "11994002", "49668003"),
    "S": ("65985001",),
}  # fmt: skip

LESIONS = (
    (Code("108369006", "Neoplasm"), "tumor, cancer, neoplasm, whole tumor, tumor core"),
    (Code("52988006", "Lesion"), "lesion, lesions"),
    (Code("27925004", "Nodule"), "nodule, nodules"),
    (Code("367643001", "Cyst"), "cyst, cysts"),
    (Code("79654002", "Edema"), "edema, oedema, peritumoral edema"),
    (Code("6574001", "Necrosis"), "necrosis, necrotic core, necrotic tumor core"),
    (Code("50960005", "Hemorrhage"), "hemorrhage, haemorrhage"),
    (Code("C113842", "Enhancing Lesion", "NCIt"), "enhancing tumor, enhancing lesion, enhancing"),
    (Code("C81175", "Non-Enhancing Lesion", "NCIt"), "non enhancing tumor, nonenhancing tumor, "
     "non enhancing lesion, necrotic non enhancing tumor, non enhancing tumor core"),
)  # fmt: skip


def concepts_of(names: Iterable[str]) -> dict[str, Concept]:
    """Code the organs of a label map; anterior and posterior alone are the hippocampus's."""
    names = list(names)
    alone = {name.lower() for name in names} == HIPPOCAMPUS
    return {name: concept_of(f"hippocampus {name}" if alone else name) for name in names}


def concept_of(name: str) -> Concept:
    """Code one organ by its name; :data:`UNKNOWN`, with its side, if it is not in the tables."""
    found = re.findall(r"[a-z]+\d*|\d+", name.lower())
    words = [WORDS.get(word, word) for word in found if word not in FILLERS]
    full = [SHORT_SIDES.get(word, word) for word in words]
    for spelt in (words, full):
        known = _known(frozenset(spelt))
        if known is not None:
            return known
    return Concept(TISSUE, TISSUE, _modifiers(words, SIDES))


def _known(words: frozenset[str]) -> Concept | None:
    sideless = words.difference(SIDES)
    for key, sides in ((words, ()), (sideless, _modifiers(words, SIDES))):
        if key in _lesions():
            return Concept(ABNORMAL, _lesions()[key], sides)
        if key in _organs():
            return Concept(ANATOMICAL, _organs()[key], sides)
    if sideless.difference(PARTS) == {"hippocampus"}:
        modifiers = _modifiers(words, SIDES | PARTS)
        return Concept(ANATOMICAL, _organs()[frozenset({"hippocampus"})], modifiers)
    for lesion in sorted(_lesions(), key=len, reverse=True):
        organ = _organs().get(sideless - lesion)
        if lesion < words and organ is not None:
            return Concept(ABNORMAL, _lesions()[lesion], _modifiers(words, SIDES), organ)
    return None


def _modifiers(words: Iterable[str], known: dict[str, Code]) -> tuple[Code, ...]:
    return tuple(known[word] for word in sorted(set(words) & known.keys()))


@cache
def _organs() -> dict[frozenset[str], Code]:
    """Set of words → code."""
    found: dict[frozenset[str], Code] = {}
    for value, meaning, names in ORGANS:
        found |= {frozenset(name.split()): Code(value, meaning) for name in names.split(", ")}
    for number, value in enumerate(RIBS, start=1):
        found[frozenset({"rib", str(number)})] = Code(value, f"{ORDINALS[number - 1]} rib")
    for region, values in VERTEBRAE.items():
        for number, value in enumerate(values, start=1):
            level = f"{region}{number}"
            for words in ({"vertebra", level.lower()}, {level.lower()}):
                found[frozenset(words)] = Code(value, f"{level} vertebra")
    return found


@cache
def _lesions() -> dict[frozenset[str], Code]:
    return {frozenset(name.split()): code for code, names in LESIONS for name in names.split(", ")}

"""The trunk around the organs: skin, fat, muscle, ribs, spine, lungs, heart."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.patient import Patient, bounded
from medseg.datasets._phantom.shapes import Ellipsoid, smooth_union, tilted
from medseg.datasets._phantom.types import Array, Generator, Point

BONE, MARROW, DISC, LUNG, AIR, CARTILAGE = 400.0, 165.0, 78.0, -840.0, -1000.0, 105.0
PITCH = 34.0  # height of a lumbar vertebra with its disc, mm
RIB_PITCH = 27.0
FRONT = 37.0  # from the vertebral bodies to the middle of the trunk, mm


@dataclass(frozen=True)
class Torso:
    """What is drawn once for the trunk of a patient."""

    patient: Patient
    spine_shift: float
    rib_shift: float
    bone: float
    marrow: float
    muscle_size: float
    heart: Ellipsoid


def draw_torso(rng: Generator, patient: Patient) -> Torso:
    """Draw the trunk of a patient."""
    beat: Point = (-14 + 4 * bounded(rng), 78 + 4 * bounded(rng), 128 + patient.breath)
    radii: Point = (52, 40, 46)
    return Torso(
        patient,
        spine_shift=float(rng.uniform(-8, 8)),
        rib_shift=float(rng.uniform(0, RIB_PITCH)),
        bone=BONE * (1 + 0.15 * bounded(rng)),
        marrow=MARROW * (1 + 0.2 * bounded(rng)),
        muscle_size=1 + 0.08 * bounded(rng),
        heart=Ellipsoid(beat, radii, tilted(about_z=-30)),
    )


def lordosis(z: Array) -> Array:
    """How far the spine stands in front of a straight line at a height, in mm."""
    return -0.22 * z - 0.0006 * z**2


def trunk(x: Array, y: Array, z: Array, patient: Patient) -> tuple[Array, Array, Array]:
    """The trunk at each place: distance to its muscles' surface, to the cavity, and the dome.

    Args:
        x: Place in the body, mm, float32; so are the others.
        y: Place, the spine's curve taken out.
        z: Place.
        patient: Whose trunk.

    Returns:
        Distance to the outer surface of the muscles in mm, negative inside; the same for the
        inner surface of the wall; height above the diaphragm in mm.
    """
    v = y - np.float32(FRONT) + np.float32(0.6) * lordosis(z)
    narrow = 1 - np.float32(0.0006) * np.maximum(z - 20, 0)
    across, deep = (
        (x / (np.float32(patient.width) * narrow)) ** 2,
        (v / np.float32(patient.depth)) ** 2,
    )
    round_, square = across + deep, across * deep
    relative = np.sqrt(np.maximum(round_ - np.float32(0.17) * square, round_ / 2)) + np.float32(
        1e-4
    )
    outer = np.sqrt(x**2 + v**2) * (1 - 1 / relative)
    behind = np.clip(-v / 40, 0, 1)
    wall = 11 + 44 * behind * np.exp(-((x / 58) ** 2))
    rectus = np.exp(-(((np.abs(x) - 34) / 20) ** 2)) - np.float32(0.9) * np.exp(-((x / 7) ** 2))
    wall += 4 * np.clip(v / 40, 0, 1) * rectus
    top = 86 + patient.breath + 13 * _bell(x - 68, v, 62) + 8 * _bell(x + 72, v, 55)
    rim = np.minimum((relative / np.float32(0.92)) ** 2, 2) ** 4
    dome = z - top + (60 + 22 * behind) * rim
    return outer, outer + wall, dome


def paint_torso(canvas: Canvas, torso: Torso, outer: Array) -> None:
    """Paint all of the trunk that lies behind and around the organs."""
    patient = torso.patient
    _wall(canvas, patient, outer)
    _chest(canvas, torso)
    low, high = (-105.0, -85.0, -1e4), (105.0, 50.0, 1e4)
    back = canvas.crop(low, high)
    if back is not None:
        _back_muscles(back, torso)
        _spine(back, torso)
    chest = canvas.crop((-1e4, -1e4, -70.0), (1e4, 1e4, 1e4))
    if chest is not None:
        _ribs(chest, torso)


def _bell(x: Array, y: Array, width: float) -> Array:
    height: Array = np.exp(-(x**2 + y**2) / np.float32(width**2))
    return height


def _wall(canvas: Canvas, patient: Patient, outer: Array) -> None:
    groove = 1 - np.float32(0.45) * np.exp(-((canvas.x / 26) ** 2)) * (canvas.y < 0)
    fat = np.float32(patient.fat) * groove * (1 + np.float32(0.04) * canvas.coarse)
    canvas.hu[...] = AIR
    canvas.paint(outer - fat - 2, 20)
    fat_hu = patient.hu["fat"] + 5 * canvas.coarse + 3 * canvas.fine
    canvas.paint(outer - fat, fat_hu)
    canvas.paint(outer, patient.hu["muscle"] + 5 * canvas.fine)
    layers = np.abs(canvas.cavity - 5.5) - np.float32(0.7)  # fat between the muscles of the flank
    flank = np.maximum(layers, 70 - np.abs(canvas.x))
    canvas.paint(np.maximum(flank, canvas.z + 5), -40)
    strands = fat_hu + 14 * np.maximum(canvas.fine - 1, 0)
    canvas.paint(canvas.cavity, strands)


def _chest(canvas: Canvas, torso: Torso) -> None:
    hu = torso.patient.hu
    upper = canvas.crop((-1e4, -1e4, -60.0), (1e4, 1e4, 1e4))
    if upper is None:
        return
    above = np.maximum(-upper.dome, upper.cavity)
    upper.paint(above - 3, hu["muscle"])
    middle = np.hypot(upper.x / 30, (upper.y - 20) / 45) - 1  # mediastinum around the spine
    lungs = np.maximum(above + 1, -30 * middle)
    vessels = LUNG + 45 * upper.coarse + 260 * np.clip(upper.fine - 1.5, 0, 1.2)
    upper.paint(above, hu["fat"])
    upper.paint(lungs, vessels)
    beat = torso.heart.distance(upper)
    heart = np.maximum(beat, -upper.dome)
    upper.paint(np.maximum(heart - 4, above), hu["fat"])
    upper.paint(heart, hu["muscle"] + 0.3 * (hu["heart"] - hu["muscle"]))
    upper.paint(np.maximum(beat + 9, 3 - upper.dome), hu["heart"])


def _back_muscles(canvas: Canvas, torso: Torso) -> None:
    x, y, z = np.abs(canvas.x), canvas.y, canvas.z
    size, hu = torso.muscle_size, torso.patient.hu["muscle"]
    fibres = hu + 7 * canvas.fine - 30 * np.clip(canvas.fine - 1.2, 0, 1)
    erector = (np.hypot((x - 35) / 28, (y + 45) / 21) - size) * 21
    canvas.paint(erector - 1.5, -80)
    canvas.paint(erector, fibres)
    grown = np.clip(10 - z, 0, 140)
    psoas = np.hypot(x - 27 - 0.15 * grown, y + 2) - size * np.minimum(
        0.21 * grown, 9 + 0.12 * grown
    )
    canvas.paint(psoas - 1, -80)
    canvas.paint(psoas, hu + 5 * canvas.fine)
    square = (np.hypot((x - 64) / 18, (y + 30) / 9) - size) * 9
    canvas.paint(np.maximum(square, z - 5), fibres)
    crus = np.maximum(np.hypot((x - 15) / 1.4, y - 24) - 6, -z - 70)
    canvas.paint(np.maximum(crus, canvas.dome + 2), hu)


def _spine(canvas: Canvas, torso: Torso) -> None:
    x, y = np.abs(canvas.x), canvas.y
    height = np.mod(canvas.z + np.float32(torso.spine_shift), PITCH) - np.float32(PITCH / 2)
    waist = 1.2 * (height / 13) ** 2
    column = np.maximum(np.hypot(x, 1.35 * y) - 22 - waist, -y - 14)
    canvas.paint(column, DISC)
    vertebra = np.maximum(column, np.abs(height) - 13)
    canvas.paint(vertebra, torso.bone)
    canvas.paint(vertebra + 2.2, torso.marrow + 22 * canvas.fine)
    around = np.hypot(x, y + 25)
    process = np.maximum(np.maximum(x - 3.5, np.abs(y + 50) - 14), np.abs(height + 6) - 9)
    wing = np.maximum(np.hypot((y + 22) / 4, height / 5) * 4 - 4, np.abs(x - 25) - 13)
    facet = np.hypot(np.hypot(x - 17, y + 34), 0.6 * (height + 12)) - 8
    arch = np.maximum(around - 14.5, np.abs(height + 2) - 11)
    behind = smooth_union(smooth_union(arch, process, 4), np.minimum(wing, facet), 4)
    behind = np.maximum(behind, y + 13)
    canvas.paint(behind, torso.bone)
    canvas.paint(behind + 2.5, torso.marrow)
    canvas.paint(around - 9.5, -10)
    canvas.paint(around - 7.5, 14)
    canvas.paint(around - 4.5, 38)


def _ribs(canvas: Canvas, torso: Torso) -> None:
    v = canvas.y - np.float32(FRONT) + np.float32(0.6) * lordosis(canvas.z)
    cosine = -v / (np.sqrt(canvas.x**2 + v**2) + 1)  # 1 at the spine, -1 at the breastbone
    falling = canvas.z + 38 * (1 - cosine) - np.float32(torso.rib_shift)
    number = np.floor(falling / RIB_PITCH)  # 0 is the twelfth rib, 1 the eleventh
    off = falling - (number + np.float32(0.5)) * RIB_PITCH
    section = (np.hypot(off / 6.5, (canvas.cavity - 4.5) / 3.6) - 1) * 3.6
    reach = np.where(number < 1, 0.45, np.where(number < 2, -0.05, -0.93))
    missing = np.where(number < 0, 99, 60 * (reach - cosine))
    rib = np.maximum(np.maximum(section, missing), 23 - np.abs(canvas.x))
    bony = np.maximum(rib, -60 * (cosine + np.float32(0.5)))
    canvas.paint(rib, CARTILAGE)
    canvas.paint(bony, torso.bone)
    canvas.paint(bony + 1.8, torso.marrow)

"""Aorta, vena cava, portal and splenic vein, mesenteric and renal vessels, adrenals."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.gut import moved
from medseg.datasets._phantom.patient import Patient, bounded
from medseg.datasets._phantom.shapes import Tube
from medseg.datasets._phantom.types import Generator

AORTA = (
    (-14, 31, 140, 13),
    (-13, 31, 60, 11.8),
    (-9, 30, 0, 10.6),
    (-7, 29, -60, 9.8),
    (-4, 28, -112, 9.2),
)
ILIACS = (
    ((-5, 29, -106, 8), (-18, 30, -135, 6.5), (-42, 32, -175, 6)),
    ((-3, 29, -106, 8), (14, 31, -135, 6.5), (40, 32, -175, 6)),
)
VENA_CAVA = (
    (27, 40, 100, 12),
    (25, 37, 60, 12.5),
    (20, 32, 0, 12),
    (17, 29, -60, 11.5),
    (14, 27, -112, 11),
)
ILIAC_VEINS = (
    ((13, 26, -108, 9), (24, 24, -140, 8), (46, 24, -175, 8)),
    ((12, 26, -108, 9), (-16, 22, -140, 8), (-42, 24, -175, 8)),
)
PORTAL_SYSTEM = (
    ((14, 60, -2, 6), (24, 62, 10, 6.5), (40, 62, 24, 6.5)),
    ((14, 58, -1, 5), (-20, 58, 6, 4.5), (-54, 42, 16, 4), (-86, 18, 30, 3.5)),
    ((14, 61, -2, 5.5), (16, 66, -40, 5), (14, 72, -90, 4), (24, 76, -140, 3)),
)
ARTERIES = (
    ((-8, 36, -4, 3.5), (-3, 52, -14, 4), (0, 62, -50, 3.5), (4, 72, -110, 3)),
    ((-10, 36, 10, 3.5), (-8, 54, 12, 3.5), (14, 64, 16, 3), (34, 70, 18, 2.5)),
    ((-10, 28, -14, 3), (-34, 16, -16, 3), (-50, 8, -22, 2.5)),
    ((-6, 28, -18, 3), (24, 16, -24, 3), (50, 8, -34, 2.5)),
)
RENAL_VEINS = (
    ((17, 38, -16, 5), (-8, 46, -15, 4.5), (-34, 26, -18, 5), (-52, 10, -24, 4.5)),
    ((24, 30, -24, 5), (40, 18, -30, 5), (52, 8, -36, 4.5)),
)
ADRENALS = (
    ((-28, 34, 32, 2), (-36, 26, 24, 3.2), (-50, 16, 20, 2.2)),
    ((-36, 26, 24, 3), (-34, 12, 20, 2)),
    ((30, 22, 34, 2.2), (38, 10, 28, 3), (44, -4, 24, 2)),
)


@dataclass(frozen=True)
class Vessel:
    """A vessel, or another small tube; ``label`` is 0 for all but the aorta."""

    tube: Tube
    hu: float
    label: int = 0


def draw_vessels(rng: Generator, patient: Patient, aorta_label: int) -> list[Vessel]:
    """Draw vessels and adrenals in the order they are painted; the aorta is the last."""
    hu = patient.hu
    low, high = np.zeros(3), np.array([0, 0, 0.5 * patient.breath])
    groups = (
        (ADRENALS, hu["adrenal"], high, 1.5),
        (RENAL_VEINS, 0.5 * (hu["vena cava"] + hu["portal vein"]), high, 1.5),
        (PORTAL_SYSTEM, hu["portal vein"], high, 2.0),
        (ARTERIES, hu["aorta"], low, 1.5),
        (ILIAC_VEINS, hu["vena cava"], low, 3.0),
        (ILIACS, hu["aorta"], low, 3.0),
    )
    vessels = [
        Vessel(moved(rng, line, shift, wobble=wobble), value)
        for lines, value, shift, wobble in groups
        for line in lines
    ]
    cava = moved(rng, VENA_CAVA, low, wobble=2, swell=1 + 0.1 * bounded(rng), flat=0.72)
    aorta = moved(rng, AORTA, low, wobble=2.5, swell=1 + 0.09 * bounded(rng))
    vessels.append(Vessel(cava, hu["vena cava"]))
    vessels.append(Vessel(aorta, hu["aorta"], aorta_label))
    return vessels


def paint_vessel(canvas: Canvas, vessel: Vessel) -> None:
    """Paint a vessel."""
    part = canvas.crop(*vessel.tube.box(5))
    if part is None:
        return
    distance = vessel.tube.distance(part, reach=5) + np.float32(0.5) * part.coarse
    distance = np.maximum(distance, part.cavity + 1)
    if vessel.label:
        part.paint(distance - 1.5, -60, label=0)
        # the vessel ends where it forks
        distance = np.maximum(distance, -108 - part.z)
    part.paint(distance, vessel.hu + 2 * part.fine, label=vessel.label)

"""Oesophagus, stomach, duodenum, colon and small bowel: tubes with a wall and a content."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.patient import Patient, bounded
from medseg.datasets._phantom.shapes import Tube, tube
from medseg.datasets._phantom.types import Array, Generator

GAS = -930.0
STOMACH = (
    (-54, 22, 80, 24), (-62, 42, 60, 36), (-64, 72, 28, 30), (-57, 97, 0, 25),
    (-30, 109, -20, 21), (4, 105, -20, 17), (29, 86, -8, 11),
)  # fmt: skip
OESOPHAGUS = ((-6, 36, 125, 9), (-10, 38, 100, 9), (-26, 40, 84, 9), (-48, 36, 72, 9))
DUODENUM = (
    (31, 84, -8, 11), (54, 74, -6, 13), (60, 58, -28, 13), (54, 52, -56, 12.5),
    (26, 50, -70, 12), (-12, 52, -66, 11.5), (-34, 62, -44, 12),
)  # fmt: skip
COLON = (
    (98, 20, -165, 24), (104, 22, -110, 24), (106, 42, -62, 22), (84, 86, -62, 22),
    (42, 112, -82, 20), (-10, 116, -92, 20), (-58, 110, -66, 20), (-98, 72, -16, 20),
    (-112, 24, -14, 18), (-118, 6, -60, 16), (-116, 8, -110, 15), (-104, 14, -165, 15),
)  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A piece of gut.

    Attributes:
        tube: Its outer surface.
        wall: Thickness of the wall, in mm.
        wall_hu: Intensity of the wall.
        content_hu: Intensity of what fills it.
        lumps: How much the content's intensity varies, in HU.
        gas_above: Gas lies where y exceeds this, in mm.
        label: The organ, 0 for gut that is none of the eight.
        folds: How much the surface deviates from the tube, in mm.
        pockets: Parts of the tube that hold gas of their own, each above its own y.
        in_chest: Whether it goes on above the diaphragm.
    """

    tube: Tube
    wall: float
    wall_hu: float
    content_hu: float
    lumps: float
    gas_above: float
    label: int = 0
    folds: float = 1.5
    pockets: tuple[tuple[Tube, float], ...] = ()
    in_chest: bool = False


def draw_stomach(rng: Generator, patient: Patient, label: int) -> Segment:
    """Draw the stomach, from nearly empty to full, with gas at the front."""
    full = 0.98 + 0.13 * bounded(rng)
    shift = np.array([4, 4, 5]) * [bounded(rng) for _ in range(3)] + [0, 0, 0.8 * patient.breath]
    shape = moved(rng, STOMACH, shift, wobble=3.5, swell=full)
    levels = np.quantile(shape.points[:, 1] + 0.5 * shape.radii, [0.35, 1.0])
    return Segment(
        shape,
        wall=4.5 + 1.0 * bounded(rng),
        wall_hu=patient.hu["stomach wall"],
        content_hu=patient.hu["fluid"] + float(rng.uniform(0, 25)) + patient.oral_contrast,
        lumps=float(rng.uniform(2, 14)),
        gas_above=float(rng.uniform(*levels)) if rng.random() < 0.85 else 1e4,
        label=label,
        folds=2.0,
    )


def draw_gut(rng: Generator, patient: Patient) -> list[Segment]:
    """Draw oesophagus, small bowel and colon, in the order they are painted."""
    fluid = patient.hu["fluid"]
    high = np.array([0, 0, patient.breath])
    oesophagus = moved(rng, OESOPHAGUS, 0.8 * high, wobble=2)
    parts = [Segment(oesophagus, 3.5, patient.hu["stomach wall"], fluid, 5, 1e4, in_chest=True)]
    parts += [_small_loop(rng, patient) for _ in range(int(rng.integers(26, 38)))]
    return [*parts, _colon(rng, patient)]


def draw_duodenum(rng: Generator, patient: Patient) -> Segment:
    """Draw the duodenum around the head of the pancreas."""
    shape = moved(rng, DUODENUM, np.array([0, 0, 0.4 * patient.breath]), wobble=2.5)
    content = patient.hu["fluid"] + 0.7 * patient.oral_contrast
    gas = float(rng.uniform(76, 95))
    return Segment(shape, 3.0, patient.hu["bowel wall"], content, 6, gas)


def moved(
    rng: Generator,
    stations: tuple[tuple[float, ...], ...],
    shift: Array,
    *,
    wobble: float,
    swell: float = 1.0,
    flat: float = 1.0,
) -> Tube:
    """A tube through stations (x, y, z, radius), moved as a whole and each by chance.

    Args:
        rng: Where chance comes from.
        stations: The mean course, in mm.
        shift: Added to all (x, y, z), in mm.
        wobble: Standard deviation of each station's own way off, in mm.
        swell: Factor on the radii; each also varies by 6 % of its own.
        flat: Height over width of the section.
    """
    given = np.array(stations, dtype=float)
    off = wobble * np.clip(rng.standard_normal((len(given), 3)), -2, 2)
    given[:, :3] += shift + off
    given[:, 3] *= swell * (1 + 0.06 * np.clip(rng.standard_normal(len(given)), -2, 2))
    return tube(given, flat=flat)


def paint_segment(canvas: Canvas, segment: Segment) -> None:
    """Paint a piece of gut with its wall, content and gas."""
    part = canvas.crop(*segment.tube.box(8))
    if part is None:
        return
    distance = segment.tube.distance(part) + np.float32(segment.folds) * part.coarse
    distance = np.maximum(distance, part.cavity + 1)
    if not segment.in_chest:
        distance = np.maximum(distance, part.dome + 2)
    part.paint(distance, segment.wall_hu + 3 * part.fine, label=segment.label)
    content = segment.content_hu + np.float32(segment.lumps) * part.fine
    if segment.lumps > 20:  # stool holds bubbles
        content = content - 500 * np.clip(part.fine + part.coarse - 1.2, 0, 1)
    inside = distance + np.float32(segment.wall)
    part.paint(inside, content)
    part.paint(np.maximum(inside, np.float32(segment.gas_above) - part.y), GAS)
    for pocket, level in segment.pockets:
        window = part.window(*pocket.box(0))
        if window is not None:
            near = part.at(window)
            gas = np.maximum(inside[window], pocket.distance(near, reach=0) + 1)
            near.paint(np.maximum(gas, np.float32(level) - near.y), GAS)


def _colon(rng: Generator, patient: Patient) -> Segment:
    shift = np.array([0, 0, 0.3 * patient.breath])
    whole = moved(rng, COLON, shift, wobble=4, swell=float(rng.uniform(0.8, 1.05)))
    pieces = np.array_split(np.arange(len(whole.points) - 1), 9)
    pockets = []
    for piece in pieces:
        around = slice(int(piece[0]), int(piece[-1]) + 2)
        points, radii = whole.points[around], whole.radii[around]
        level = float(points[:, 1].mean() + rng.uniform(-0.8, 1.2) * radii.mean())
        pockets.append((Tube(points, radii), level))
    stool = float(rng.uniform(-40, 40))
    wall_hu = patient.hu["bowel wall"]
    return Segment(whole, 2.5, wall_hu, stool, 45, 1e4, folds=2.5, pockets=tuple(pockets))


def _small_loop(rng: Generator, patient: Patient) -> Segment:
    jejunum = rng.random() < 0.3  # high on the left, the rest lower and all across
    low, high = ((-92, 55, -60), (-35, 102, 5)) if jejunum else ((-88, 58, -170), (85, 114, -48))
    centre = rng.uniform(low, high)
    way = np.array([rng.uniform(12, 32), rng.uniform(-8, 8), rng.uniform(-14, 14)])
    bend = np.array([0, rng.uniform(-14, 14), rng.uniform(-18, 18)])
    radius = rng.uniform(9, 14)
    stations = tuple((*(centre + s * way + abs(s) * bend), radius) for s in (-1, 0, 1))
    shape = moved(rng, stations, np.zeros(3), wobble=2)
    content = patient.hu["fluid"] + float(rng.uniform(0, 20)) + patient.oral_contrast
    gas = centre[1] + float(rng.uniform(0, 6)) if rng.random() < 0.25 else 1e4
    return Segment(shape, 2.5, patient.hu["bowel wall"], content, 6, float(gas))

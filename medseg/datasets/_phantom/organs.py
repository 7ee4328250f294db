"""Liver, gallbladder, spleen, kidneys and pancreas."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.gut import moved
from medseg.datasets._phantom.patient import Patient, bounded
from medseg.datasets._phantom.shapes import Ellipsoid, Tube, smooth_cut, smooth_union, tilted
from medseg.datasets._phantom.types import Array, Generator, Point

PANCREAS = (
    (38, 60, -40, 9), (36, 63, -24, 15.5), (27, 68, -9, 13), (6, 75, 2, 10.5),
    (-20, 75, 8, 11.5), (-46, 61, 14, 12), (-66, 40, 17, 11), (-80, 28, 21, 8),
)  # fmt: skip
GALLBLADDER = ((42, 58, -2, 5), (50, 72, -10, 11), (59, 88, -20, 15.5), (66, 100, -28, 14.5))
PORTAL_TREE = (
    ((22, 62, 4, 7), (40, 62, 22, 7), (64, 54, 34, 5.5), (90, 40, 40, 3.5), (112, 34, 44, 2)),
    ((64, 54, 34, 5), (84, 72, 16, 3.5), (100, 84, 0, 2)),
    ((42, 62, 24, 6), (24, 84, 40, 5), (-6, 96, 48, 3.5), (-34, 98, 52, 2)),
)
HEPATIC_VEINS = (
    ((26, 38, 78, 8), (62, 28, 70, 6), (96, 20, 50, 4), (112, 22, 20, 2)),
    ((26, 40, 80, 7), (46, 62, 66, 5.5), (58, 92, 36, 2.5)),
    ((24, 42, 80, 6), (4, 72, 68, 4.5), (-26, 92, 60, 2.5)),
)


@dataclass(frozen=True)
class Liver:
    """Two lobes under the diaphragm, cut by a sloping lower face, with their vessels."""

    right: Ellipsoid
    left: Ellipsoid
    slope: float
    lower: float
    vessels: tuple[Tube, ...]
    cysts: tuple[Ellipsoid, ...]
    hu: float
    vessel_hu: float
    gap: float


@dataclass(frozen=True)
class Kidney:
    """A bean: an ellipsoid with the hilum cut out of its inner side."""

    body: Ellipsoid
    hilum: Ellipsoid
    pelvis: Ellipsoid
    cysts: tuple[Ellipsoid, ...]
    cortex: float
    cortex_hu: float
    medulla_hu: float


@dataclass(frozen=True)
class Spleen:
    """An ellipsoid along the ribs, hollowed towards the stomach."""

    body: Ellipsoid
    hollow: Ellipsoid
    hu: float
    mottled: float
    gap: float


def draw_liver(rng: Generator, patient: Patient) -> Liver:
    """Draw a liver of 1.1 to 2.1 litres."""
    size = 1 + 0.05 * bounded(rng)
    shift = np.array([4 * bounded(rng), 4 * bounded(rng), 4 * bounded(rng) + patient.breath])
    place = _at(shift)
    reach = size * (1 + 0.14 * bounded(rng))  # the left lobe varies most
    right = Ellipsoid(place(70, 36, 22), _scaled((74, 87, 92), size), tilted(about_z=8))
    left = Ellipsoid(place(-6, 90, 46), _scaled((74, 44, 42), reach), tilted(about_y=12))
    trees = PORTAL_TREE + HEPATIC_VEINS
    vessels = tuple(moved(rng, line, shift, wobble=3) for line in trees)
    number = int(rng.poisson(0.5))
    cysts = tuple(
        _ball(rng, place(*rng.uniform((40, 0, -10), (105, 70, 60))), 4, 13) for _ in range(number)
    )
    hu = patient.hu
    return Liver(
        right,
        left,
        slope=0.8 + 0.1 * bounded(rng),
        lower=float(shift[2] + 7 * bounded(rng)),
        vessels=vessels,
        cysts=cysts,
        hu=hu["liver"],
        vessel_hu=0.3 * hu["liver"] + 0.7 * hu["portal vein"],
        gap=patient.gap,
    )


def paint_liver(canvas: Canvas, liver: Liver, label: int) -> None:
    """Paint the liver."""
    part = canvas.crop((-95, -80, -110), (170, 160, 140))
    if part is None:
        return
    lobes = smooth_union(liver.right.distance(part), liver.left.distance(part), 24)
    steep = np.float32(np.hypot(1.1, liver.slope))
    floor = np.float32(18 + liver.lower) - np.float32(liver.slope) * np.clip(part.x, 14, 130)
    floor += np.float32(0.75) * np.clip(38 - part.y, 0, 60)  # room for the right kidney
    shape = smooth_cut(lobes, (floor - part.z) / steep, 16)
    spine = 40 - np.hypot(part.x + 5, 1.05 * (part.y - 10))  # room for spine and great vessels
    shape = smooth_cut(shape, spine, 14) + np.float32(2.2) * part.coarse
    shape = np.maximum(np.maximum(shape, part.cavity + 3), part.dome + 1)
    part.paint(shape - np.float32(liver.gap), -95, label=0)
    part.paint(shape, liver.hu + 3 * part.coarse + 3 * part.fine, label=label)
    for vessel in liver.vessels:
        window = part.window(*vessel.box(4))
        if window is not None:
            near = part.at(window)
            near.paint(np.maximum(vessel.distance(near), shape[window]), liver.vessel_hu)
    for cyst in liver.cysts:
        part.paint(np.maximum(cyst.distance(part), shape + 2), 8)


def draw_spleen(rng: Generator, patient: Patient) -> Spleen:
    """Draw a spleen of 100 to 400 ml."""
    size = 1 + 0.09 * bounded(rng)
    shift = np.array([4 * bounded(rng), 5 * bounded(rng), 5 * bounded(rng) + 0.9 * patient.breath])
    place = _at(shift)
    turn = tilted(about_x=-18, about_z=-24 + 6 * bounded(rng))
    return Spleen(
        Ellipsoid(place(-108, 0, 36), _scaled((43, 66, 60), size), turn),
        Ellipsoid(place(-64, 26, 36), (29, 44, 62), turn),
        hu=patient.hu["spleen"],
        mottled=10.0 if patient.phase == "arterial" else 3.0,
        gap=patient.gap,
    )


def paint_spleen(canvas: Canvas, spleen: Spleen, label: int) -> None:
    """Paint the spleen."""
    part = canvas.crop(*spleen.body.box(6))
    if part is None:
        return
    shape = smooth_cut(spleen.body.distance(part), -spleen.hollow.distance(part), 10)
    shape = shape + np.float32(1.8) * part.coarse
    shape = smooth_cut(shape, part.cavity + 3, 8)
    shape = np.maximum(shape, part.dome + 2)
    part.paint(shape - np.float32(spleen.gap), -95, label=0)
    part.paint(shape, spleen.hu + np.float32(spleen.mottled) * part.fine, label=label)


def draw_kidney(rng: Generator, patient: Patient, side: float) -> Kidney:
    """Draw a kidney of 120 to 230 ml; ``side`` is 1 for the right one, -1 for the left."""
    size = 1 + 0.06 * bounded(rng)
    height = (-38 if side > 0 else -24) + 6 * bounded(rng) + 0.6 * patient.breath
    x, y = side * (68 + 4 * bounded(rng)), 2 + 4 * bounded(rng)
    turn = tilted(
        8 + 3 * bounded(rng), side * -(9 + 3 * bounded(rng)), side * (25 + 6 * bounded(rng))
    )
    inward = -side * turn[0] * size
    middle = np.array([x, y, height])
    number = int(rng.poisson(0.35))
    spots = middle + rng.uniform(-1, 1, (number, 3)) * [24, 20, 42]
    return Kidney(
        Ellipsoid(_point(middle), _scaled((30, 26, 56), size), turn),
        Ellipsoid(_point(middle + 25 * inward), _scaled((25, 11, 24), size), turn),
        Ellipsoid(_point(middle + 22 * inward), _scaled((14, 6, 12), size), turn),
        cysts=tuple(_ball(rng, _point(spot), 4, 12) for spot in spots),
        cortex=6.5 + 0.8 * bounded(rng),
        cortex_hu=patient.hu["renal cortex"],
        medulla_hu=patient.hu["renal medulla"],
    )


def paint_kidney_fat(canvas: Canvas, kidney: Kidney, fat_hu: float) -> None:
    """Paint the fat that a kidney is bedded in; its vessels are painted over it."""
    part = canvas.crop(*kidney.body.box(12))
    if part is not None:
        bed = np.maximum(kidney.body.distance(part) - 5, part.cavity + 2)
        part.paint(bed, fat_hu + 8 * part.fine, label=0, softness=1.5)


def paint_kidney(canvas: Canvas, kidney: Kidney, label: int) -> None:
    """Paint a kidney, its cortex brighter than its medulla while contrast arrives."""
    part = canvas.crop(*kidney.body.box(6))
    if part is None:
        return
    bean = kidney.body.distance(part) + np.float32(1.2) * part.coarse
    shape = smooth_cut(bean, -kidney.hilum.distance(part), 7)
    part.paint(np.maximum(kidney.pelvis.distance(part), bean - 8), 22, label=0)
    depth = np.clip((-shape - np.float32(kidney.cortex) + 2 * part.fine) / 4, 0, 1)
    hu = kidney.cortex_hu + depth * np.float32(kidney.medulla_hu - kidney.cortex_hu)
    part.paint(shape, hu + 3 * part.coarse, label=label)
    for cyst in kidney.cysts:
        part.paint(np.maximum(cyst.distance(part), shape + 1), 6)


def draw_gallbladder(rng: Generator, patient: Patient) -> Tube | None:
    """Draw a gallbladder of 25 to 60 ml; a few patients have it no more."""
    if rng.random() < 0.05:
        return None
    shift = np.array([4 * bounded(rng), 4 * bounded(rng), 4 * bounded(rng) + patient.breath])
    return moved(rng, GALLBLADDER, shift, wobble=2, swell=1.17 + 0.07 * bounded(rng))


def paint_gallbladder(canvas: Canvas, shape: Tube | None, patient: Patient, label: int) -> None:
    """Paint the gallbladder: bile in a thin wall."""
    part = None if shape is None else canvas.crop(*shape.box(6))
    if part is None or shape is None:
        return
    distance = shape.distance(part) + np.float32(0.8) * part.coarse
    part.paint(distance - 1, patient.hu["bowel wall"] * 0.5, label=0)
    part.paint(distance + 1, patient.hu["gallbladder"] + 2 * part.fine)
    part.label[distance < 0] = label


def draw_pancreas(rng: Generator, patient: Patient) -> Tube:
    """Draw a pancreas of 55 to 110 ml."""
    shift = np.array([4 * bounded(rng), 3 * bounded(rng), 4 * bounded(rng) + 0.5 * patient.breath])
    return moved(rng, PANCREAS, shift, wobble=2.5, swell=1.05 + 0.06 * bounded(rng))


def paint_pancreas(canvas: Canvas, shape: Tube, patient: Patient, label: int) -> None:
    """Paint the pancreas: lobules with fat between them."""
    part = canvas.crop(*shape.box(8))
    if part is None:
        return
    distance = shape.distance(part) + np.float32(1.0) * part.coarse + np.float32(0.8) * part.fine
    clefts = 28 * np.clip(np.abs(part.fine) - 1.1, 0, 1)
    part.paint(distance - np.float32(patient.gap + 0.5), -90, label=0, softness=1.3)
    part.paint(distance, patient.hu["pancreas"] - clefts, label=label)


def _at(shift: Array) -> Callable[[float, float, float], Point]:
    return lambda x, y, z: (x + float(shift[0]), y + float(shift[1]), z + float(shift[2]))


def _point(values: Array) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def _scaled(radii: Point, size: float) -> Point:
    return radii[0] * size, radii[1] * size, radii[2] * size


def _ball(rng: Generator, centre: Point, low: float, high: float) -> Ellipsoid:
    radius = float(rng.uniform(low, high))
    return Ellipsoid(centre, (radius, radius, radius), np.eye(3))

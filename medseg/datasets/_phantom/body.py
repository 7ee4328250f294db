"""A whole body: drawn once per case, painted slab by slab."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom import organs
from medseg.datasets._phantom.canvas import Canvas
from medseg.datasets._phantom.fields import Field, draw_field
from medseg.datasets._phantom.gut import (
    Segment,
    draw_duodenum,
    draw_gut,
    draw_stomach,
    paint_segment,
)
from medseg.datasets._phantom.patient import Patient, draw_patient
from medseg.datasets._phantom.shapes import Tube
from medseg.datasets._phantom.torso import Torso, draw_torso, lordosis, paint_torso, trunk
from medseg.datasets._phantom.types import Array, Generator
from medseg.datasets._phantom.vessels import Vessel, draw_vessels, paint_vessel

LABELS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "liver": 5,
    "stomach": 6,
    "aorta": 7,
    "pancreas": 8,
}
LOW, HIGH = (-330.0, -330.0, -330.0), (330.0, 330.0, 330.0)  # (z, y, x), mm: where fields reach
COARSE_MM, FINE_MM, WARP_MM = 30.0, 9.0, 70.0
WARP_AMPLITUDE_MM = 4.0


@dataclass(frozen=True)
class Body:
    """Everything of one patient that is drawn by chance."""

    patient: Patient
    torso: Torso
    gut: list[Segment]
    stomach: Segment
    duodenum: Segment
    liver: organs.Liver
    spleen: organs.Spleen
    right_kidney: organs.Kidney
    left_kidney: organs.Kidney
    gallbladder: Tube | None
    pancreas: Tube
    vessels: list[Vessel]
    coarse: Field
    fine: Field
    warp: tuple[Field, Field, Field]


def draw_body(rng: Generator) -> Body:
    """Draw a body."""
    patient = draw_patient(rng)
    return Body(
        patient,
        draw_torso(rng, patient),
        draw_gut(rng, patient),
        draw_stomach(rng, patient, LABELS["stomach"]),
        draw_duodenum(rng, patient),
        organs.draw_liver(rng, patient),
        organs.draw_spleen(rng, patient),
        organs.draw_kidney(rng, patient, 1.0),
        organs.draw_kidney(rng, patient, -1.0),
        organs.draw_gallbladder(rng, patient),
        organs.draw_pancreas(rng, patient),
        draw_vessels(rng, patient, LABELS["aorta"]),
        draw_field(rng, LOW, HIGH, step=COARSE_MM),
        draw_field(rng, LOW, HIGH, step=FINE_MM),
        (_warp(rng), _warp(rng), _warp(rng)),
    )


def paint_body(
    body: Body, z: Array, y: Array, x: Array, tilt: Array, edge: float
) -> tuple[Array, Array]:
    """Paint the body on a lattice.

    Args:
        body: Whose.
        z: Places along the scanner's axis towards the head, in mm.
        y: Places towards the front.
        x: Places to the patient's right.
        tilt: Rotation of the body in the scanner, shape (3, 3), acting on (x, y, z).
        edge: Width over which tissues mix, in mm: about the size of a pixel.

    Returns:
        HU, float32, and labels, uint8, both of shape (Z, Y, X).
    """
    bx, by, bz = _places(body, z, y, x, tilt)
    by -= lordosis(bz)
    outer, cavity, dome = trunk(bx, by, bz, body.patient)
    coarse, fine = body.coarse.on(z, y, x), body.fine.on(z, y, x)
    hu = np.empty(bx.shape, np.float32)
    label = np.zeros(bx.shape, np.uint8)
    canvas = Canvas(bx, by, bz, hu, label, cavity, dome, coarse, fine, edge=edge)
    paint_torso(canvas, body.torso, outer)
    _paint_organs(canvas, body)
    _paint_couch(canvas, body, y, x, outer)
    return hu, label


def _paint_organs(canvas: Canvas, body: Body) -> None:
    patient = body.patient
    for segment in body.gut:
        paint_segment(canvas, segment)
    paint_segment(canvas, body.stomach)
    organs.paint_spleen(canvas, body.spleen, LABELS["spleen"])
    organs.paint_liver(canvas, body.liver, LABELS["liver"])
    organs.paint_gallbladder(canvas, body.gallbladder, patient, LABELS["gallbladder"])
    paint_segment(canvas, body.duodenum)
    organs.paint_pancreas(canvas, body.pancreas, patient, LABELS["pancreas"])
    kidneys = {"right kidney": body.right_kidney, "left kidney": body.left_kidney}
    for kidney in kidneys.values():
        organs.paint_kidney_fat(canvas, kidney, patient.hu["fat"])
    for vessel in body.vessels:
        paint_vessel(canvas, vessel)
    for organ, kidney in kidneys.items():
        organs.paint_kidney(canvas, kidney, LABELS[organ])


def _paint_couch(canvas: Canvas, body: Body, y: Array, x: Array, outer: Array) -> None:
    """Paint the hollow couch below the back, where there is air."""
    lowest = -body.patient.depth - body.patient.fat + 8
    across, deep = x.astype(np.float32)[None, None, :], y.astype(np.float32)[None, :, None]
    below = np.float32(lowest) + np.float32(6e-4) * across**2 - deep
    shell = np.minimum(np.abs(below) - 1.5, np.abs(below - 40) - 1.5)
    shell = np.maximum(shell, np.abs(across) - 220)
    free = np.float32(body.patient.fat + 4) - outer
    canvas.paint(np.maximum(shell, free), -350)


def _places(body: Body, z: Array, y: Array, x: Array, tilt: Array) -> tuple[Array, Array, Array]:
    """Where in the body each voxel lies: turned, then bent by the warp."""
    grid = np.ix_(z.astype(np.float32), y.astype(np.float32), x.astype(np.float32))
    across, deep, up = grid[2], grid[1], grid[0]
    places = []
    for row, warp in zip(tilt.astype(np.float32), body.warp, strict=True):
        places.append((row[0] * across + row[1] * deep + row[2] * up) + warp.on(z, y, x))
    return places[0], places[1], places[2]


def _warp(rng: Generator) -> Field:
    field = draw_field(rng, LOW, HIGH, step=WARP_MM)
    return Field(field.coefficients * np.float32(WARP_AMPLITUDE_MM), field.start, field.step)

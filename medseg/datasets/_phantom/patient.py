"""What differs from patient to patient: build, breathing, contrast phase, tissue intensities."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets._phantom.types import Generator

# HU of tissues without contrast, in the arterial and in the portal venous phase: typical
# mid-range figures of abdominal CT at 120 kV.
PHASES = ("native", "arterial", "venous")
TISSUES = {
    "aorta": (42, 300, 155),
    "vena cava": (40, 75, 135),
    "portal vein": (42, 120, 158),
    "heart": (42, 230, 150),
    "liver": (58, 72, 108),
    "spleen": (49, 122, 120),
    "renal cortex": (34, 190, 182),
    "renal medulla": (30, 85, 165),
    "pancreas": (40, 104, 94),
    "stomach wall": (40, 84, 78),
    "bowel wall": (40, 96, 88),
    "adrenal": (30, 85, 75),
    "muscle": (52, 58, 62),
    "gallbladder": (9, 9, 10),
    "fat": (-104, -103, -102),
    "fluid": (14, 15, 16),
}
SPREAD = {"aorta": 0.12, "heart": 0.12, "fat": 0.04, "gallbladder": 0.3, "fluid": 0.4}


@dataclass(frozen=True)
class Patient:
    """One patient at one moment.

    Attributes:
        phase: The contrast phase nearest to the scan's: ``native``, ``arterial``, ``venous``.
        hu: Tissue → intensity, in HU.
        width: Half width of the trunk without subcutaneous fat, in mm.
        depth: Half depth of the same, in mm.
        fat: Thickness of the subcutaneous fat, in mm.
        gap: Thickness of the fat between organs that lie side by side, in mm.
        breath: How far the diaphragm and what hangs from it stand above their middle, in mm.
        oral_contrast: HU that contrast drunk before the scan adds to stomach and bowel, 0 if none.
    """

    phase: str
    hu: dict[str, float]
    width: float
    depth: float
    fat: float
    gap: float
    breath: float
    oral_contrast: float


def draw_patient(rng: Generator) -> Patient:
    """Draw a patient; lean ones are smaller all round, the phase is mostly portal venous."""
    time = _time(rng)
    build = bounded(rng)
    fat = float(np.clip(19 + 8 * build + 5 * bounded(rng), 7, 42))
    return Patient(
        phase=PHASES[round(time)],
        hu=_intensities(rng, time),
        width=150 + 7 * build + 4 * bounded(rng),
        depth=103 + 7 * build + 4 * bounded(rng),
        fat=fat,
        gap=float(np.clip(0.06 * fat, 0.5, 2.0)),
        breath=7 * bounded(rng),
        oral_contrast=float(rng.uniform(90, 220)) if rng.random() < 0.3 else 0.0,
    )


def bounded(rng: Generator) -> float:
    """A standard normal number held within two standard deviations."""
    return float(np.clip(rng.standard_normal(), -2, 2))


def _time(rng: Generator) -> float:
    """Where the scan lies between no contrast (0), arterial (1) and portal venous phase (2)."""
    kind = rng.random()
    if kind < 0.12:
        return 0.0
    if kind < 0.4:
        return float(rng.uniform(0.85, 1.4))
    return float(rng.uniform(1.7, 2.0))


def _intensities(rng: Generator, time: float) -> dict[str, float]:
    scale = 1 + 0.08 * bounded(rng)  # dose of contrast per kg
    fatty_liver = float(rng.uniform(15, 40)) if rng.random() < 0.15 else 0.0
    hu = {}
    for tissue, values in TISSUES.items():
        taken_up = float(np.interp(time, (0, 1, 2), values)) - values[0]
        spread = 1 + SPREAD.get(tissue, 0.06) * bounded(rng)
        hu[tissue] = (values[0] + scale * taken_up) * spread
    hu["liver"] -= fatty_liver
    return hu

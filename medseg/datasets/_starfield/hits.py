"""What hits the detector itself: points, straight tracks and worms, as sharp as its pixels."""

import numpy as np

STEP_PIXELS = 0.1
LONGEST_STEPS = 6000
KINDS = ("point", "track", "worm")
SHARES = (0.35, 0.4, 0.25)


def cosmic_rays(rng: np.random.Generator, size: int) -> np.ndarray:
    """Electrons that cosmic rays leave in one exposure, float64 (size, size).

    No optics spread them: a hit's electrons go to the pixels its path crosses, shared between
    neighbours by how near the path runs to their centres.
    """
    deposit = np.zeros((size, size))
    for _ in range(rng.poisson(16 * (size / 256) ** 2)):
        kind = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
        _spread(deposit, *_path(rng, kind, size))
    return deposit


def _path(rng: np.random.Generator, kind: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points along a hit, (steps, 2), and the electrons left at each, (steps,)."""
    if kind == "point":
        length = rng.uniform(0.0, 1.5)
    elif kind == "track":
        length = 3 + rng.exponential(18)
    else:
        length = 6 + rng.exponential(20)
    steps = int(np.clip(length / STEP_PIXELS, 1, LONGEST_STEPS))
    bend = rng.normal(0, 0.14, steps).cumsum() if kind == "worm" else 0.0
    angle = rng.uniform(0, 2 * np.pi) + bend * np.ones(steps)
    moves = STEP_PIXELS * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    points = rng.uniform(-2, size + 2, 2) + moves.cumsum(axis=0)
    per_pixel = np.exp(rng.uniform(np.log(400), np.log(8000)))  # electrons per pixel of path
    if kind == "point":
        return points, np.full(steps, 2 * per_pixel / steps)
    knots = rng.gamma(4.0, 0.25, size=steps // 10 + 2)  # the loss of energy is uneven
    uneven = np.interp(np.arange(steps) / 10, np.arange(len(knots)), knots)
    return points, per_pixel * STEP_PIXELS * uneven


def _spread(deposit: np.ndarray, points: np.ndarray, electrons: np.ndarray) -> None:
    """Share each point's electrons among the four pixels around it."""
    corner = np.floor(points).astype(int)
    rest = points - corner
    for row in (0, 1):
        for column in (0, 1):
            near = np.abs(1 - row - rest[:, 0]) * np.abs(1 - column - rest[:, 1])
            place = corner + np.array([row, column])
            inside = ((place >= 0) & (place < len(deposit))).all(axis=1)
            np.add.at(deposit, tuple(place[inside].T), (near * electrons)[inside])

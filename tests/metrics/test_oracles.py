"""Our figures beside those that MedPy, MONAI and DeepMind's surface-distance give here and now."""

import numpy as np
import pytest
import surface_distance as deepmind
import torch
from medpy.metric import binary as medpy
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy.ndimage import gaussian_filter

from medseg.metrics import evaluate_case

KINDS = ("noise", "blobs", "edge", "one voxel", "empty", "full")
SPACINGS = (0.5, 0.7, 0.8, 1.0, 2.5, 3.0)
ORGANS = {"liver": 1, "spleen": 5}


def label_map(rng, shape, kind):
    """Two organs, or one that fills the map, or none."""
    made = np.zeros(shape, dtype=np.int16)
    if kind == "noise":
        made = rng.choice([0, 0, 1, 5], shape).astype(np.int16)
    elif kind in ("blobs", "edge"):
        smooth = gaussian_filter(rng.random(shape), 1.5, mode="reflect")
        low, high = np.quantile(smooth, [0.3, 0.6])
        made[smooth > high], made[smooth < low] = 1, 5
        if kind == "blobs":
            inside = np.zeros(shape, dtype=bool)
            inside[(slice(1, -1),) * len(shape)] = True
            made[~inside] = 0
    elif kind == "one voxel":
        for value in ORGANS.values():
            made[tuple(rng.integers(0, shape))] = value
    elif kind == "full":
        made[:] = 1
    return made


def pairs(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ndim = int(rng.choice([2, 3]))
        shape = tuple(rng.integers(4, 13, ndim).tolist())
        spacing = tuple(rng.choice(SPACINGS, ndim).tolist())
        kinds = rng.choice(KINDS, 2, p=[0.2, 0.35, 0.25, 0.08, 0.04, 0.08])
        maps = [label_map(rng, shape, kind) for kind in kinds]
        yield [np.asarray(each, order=rng.choice(["C", "F"])) for each in maps], spacing


def by_monai(pred, label, spacing):
    masks = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (pred, label)]
    far = {"include_background": True, "spacing": list(spacing)}
    return {
        "dsc": compute_dice(*masks),
        "iou": compute_iou(*masks),
        "hd95_directed": compute_hausdorff_distance(*masks, percentile=95, **far),
        "hd": compute_hausdorff_distance(*masks, **far),
        "assd": compute_average_surface_distance(*masks, symmetric=True, **far),
    } | {
        f"nsd_{tolerance:g}mm": compute_surface_dice(
            *masks, class_thresholds=[tolerance], use_subvoxels=True, **far
        )
        for tolerance in ((1.0, 2.0) if pred.ndim == 3 else ())
    }  # MONAI's own lengths in 2D are others


def by_medpy(pred, label, spacing):
    figures = {"dsc": medpy.dc, "iou": medpy.jc, "precision": medpy.precision}
    found = {key: figure(pred, label) for key, figure in figures.items()}
    found["recall"] = medpy.recall(pred, label)
    for key, figure in (("hd95", medpy.hd95), ("hd", medpy.hd), ("assd", medpy.assd)):
        found[key] = figure(pred, label, voxelspacing=spacing)
    return found


@pytest.mark.filterwarnings("ignore:Please import `.*` from the `scipy.ndimage` namespace")
@pytest.mark.parametrize("seed", range(8))
def test_200_random_pairs_agree_with_medpy_monai_and_deepmind(seed):
    for maps, spacing in pairs(seed, 25):
        figures = evaluate_case(*maps, spacing, ORGANS)
        for organ, value in ORGANS.items():
            masks, ours = [each == value for each in maps], figures[organ]
            there = [bool(mask.any()) for mask in masks]
            status = {(1, 1): "scored", (0, 1): "missed", (1, 0): "false_positive"}
            assert ours.status == status.get(tuple(map(int, there)), "absent")
            if ours.status != "scored":
                continue
            for key, theirs in by_medpy(*masks, spacing).items():
                assert ours[key] == pytest.approx(theirs, abs=1e-9), key
            for key, theirs in by_monai(*masks, spacing).items():
                assert ours[key] == pytest.approx(float(theirs), rel=1e-5, abs=1e-6), key
            distances = deepmind.compute_surface_distances(*masks[::-1], spacing)
            for tolerance in (1.0, 2.0):
                nsd = deepmind.compute_surface_dice_at_tolerance(distances, tolerance)
                assert ours[f"nsd_{tolerance:g}mm"] == pytest.approx(nsd, abs=1e-9)


def test_the_random_pairs_hold_every_kind():
    statuses, shapes = set(), set()
    for seed in range(8):
        for maps, spacing in pairs(seed, 25):
            figures = evaluate_case(*maps, spacing, ORGANS, metrics=["dsc"])
            statuses |= {organ.status for organ in figures.values()}
            shapes.add(maps[0].ndim)
    assert statuses == {"scored", "missed", "false_positive", "absent"}
    assert shapes == {2, 3}

"""A small explanation to make pages of: a box in noise, two methods, two layers of attention."""

import numpy as np

from medseg.report.explanation import write_explanation
from medseg.report.overlays import Heads, overlays
from medseg.volumes import Volume

SHAPE = (40, 30, 6)
LPS = np.diag([-2.0, -3.0, -5.0, 1.0])  # every axis runs against RAS
HERE = (slice(5, 15), slice(8, 20))  # of the target in each of its slices, in the file's voxels


def volumes():
    scan = np.random.default_rng(0).normal(100, 20, SHAPE)
    region, near, far = (np.zeros(SHAPE, dtype=np.float32) for _ in range(3))
    region[(*HERE, slice(1, 4))] = 1
    near[(*HERE, slice(1, 4))] = [1, 2, 3]
    far[25:35, 8:20, 1:4] = 1
    return [Volume(array, LPS) for array in (scan, region, near, far)]


def heads(slices):
    weights = {}
    for index in slices:
        layers = np.zeros((2, 3, 3, 4))
        for layer, head in np.ndindex(2, 3):
            layers[layer, head, layer, head] = 0.5 + index
        weights[index] = list(layers)
    names, seen = ["encoder.0.attn", "encoder.1.attn"], (-0.5, 24.5, -0.5, 39.5)
    return Heads(names, [3, 3], weights, (4.5, 4.5), (10.0, 10.0), seen)


def record(methods=("near", "far"), **changes):
    files = {"map": "x.nii.gz", "arrays": "x.npz"}
    return {
        "medseg": "1.0",
        "network": "Net",
        "image": "ct.nii.gz",
        "organ": "liver",
        "against": None,
        "voxel": None,
        "region": None,
        "slices": [1, 2, 3],
        "shown_slice": 2,
        "options": {"layer": None, "heads": "mean"},
        "methods": {name: {**files, "seconds": 0.25} for name in methods},
        "picture": "ct_liver.png",
    } | changes


def explanation(path, *, slices=(2, 3, 4), **changes):
    scan, region, near, far = volumes()
    found = overlays(scan, region, slices)
    found.add("near", near)
    found.add("far", far)
    found.heads = heads(slices)
    write_explanation(path, record(**changes), found)
    return path

"""Predictions made of true label maps: shifted, swollen, with organs lost and invented."""

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from medseg.evaluation.evaluate import evaluate


def perturb(label, seed, *, lose=None, stray=None):
    """A copy of a label map with each organ moved and grown or shrunk by its own draw.

    ``lose`` is a value to leave out, ``stray`` one that also appears in a far corner.
    """
    rng = np.random.default_rng(seed)
    pred = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        if value == lose:
            continue
        mask = np.roll(label == value, rng.integers(-1, 2, 3), axis=(0, 1, 2))
        change = rng.integers(0, 3)
        if change:
            changed = (binary_erosion, binary_dilation)[change - 1](mask)
            mask = changed if changed.any() else mask
        pred[mask] = value
    if stray is not None:
        pred[:2, :2, :2] = stray
    return pred


def evaluated(cases, labels, folder):
    """Write perturbed predictions of (case id, image, label) files, and their results."""
    truth, guess, images = folder / "truth", folder / "pred", folder / "image"
    for part in (truth, guess, images):
        part.mkdir(parents=True)
    values = list(labels.values())
    for seed, (case_id, image, label) in enumerate(cases):
        name = f"{case_id}.nii.gz"
        (truth / name).symlink_to(label)
        (images / name).symlink_to(image)
        volume = nib.load(label)
        array = np.asarray(volume.dataobj).astype(np.uint8)
        pred = perturb(array, seed, lose=values[-1] if seed % 7 == 3 else None,
                       stray=values[0] if seed % 5 == 1 else None)  # fmt: skip
        nib.save(nib.Nifti1Image(pred, volume.affine), guess / name)
    evaluate(guess, truth, folder / "results", labels=labels, images=images)
    return folder / "results"

"""Pictures for a bundle's card: a case with its organs outlined, and how training went."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.preview import draw

PREVIEW = "preview.png"
CURVES = {  # of a run folder's figures
    "loss_train_val.png": "Loss per epoch of the training",
    "dsc_per_organ.png": "DSC of each organ on the validation cases",
}


def put_curves(run: Path, docs: Path) -> dict[str, str]:
    """Copy the curves of a training, as far as its run folder has them.

    Args:
        run: Run folder, or any other, which has none.
        docs: Folder of the bundle's card.

    Returns:
        File name → caption.
    """
    there = {name: said for name, said in CURVES.items() if (run / "figures" / name).is_file()}
    for name in there:
        docs.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "figures" / name, docs / name)
    return there


def put_preview(
    cases: Sequence[tuple[Path, Path]],
    organ_voxels: Sequence[int],
    labels: Mapping[str, int],
    docs: Path,
) -> None:
    """Draw the case with the most voxels of organs into the card's folder.

    Args:
        cases: Image and label map of each.
        organ_voxels: Of each label map.
        labels: Organ → value.
        docs: Folder of the bundle's card.
    """
    image, label_map = cases[max(range(len(cases)), key=organ_voxels.__getitem__)]
    draw(docs / PREVIEW, image, label_map, labels)

"""Every convention of a report in plain language, for readers who do not compute metrics."""

from collections.abc import Iterable, Mapping

from medseg.report.figures import Figure

GENERAL = {
    "Native grid": "Everything is measured on the native grid of each label file, in millimetres "
    "by its voxel spacing; nothing is resampled.",
    "Status": "Before any figure, each organ of each case is one of four: scored (in truth and "
    "prediction), missed (in the truth, not predicted), false positive (predicted, not in the "
    "truth) or absent in both. An organ absent in both enters no figure.",
    "Headline": "The mean that stands first counts every case in which the organ is in truth or "
    "prediction. A missed or invented organ enters with the worst value there is: 0 for scores, "
    "the diagonal of its image for distances. Leaving an organ out can therefore never improve a "
    "headline.",
    "Scored only": "The mean over the cases in which the organ is in both truth and prediction. "
    "It looks better the more hard organs are missed, so read it beside the coverage.",
    "Mean over organs": "Each organ counts once, however many cases have it.",
    "Interval": "The 95 % confidence interval in square brackets comes from drawing the cases anew "
    "with replacement many times (bootstrap): other patients of the same kind would move the mean "
    "within about this range.",
}
METRICS = {
    "dsc": "Dice similarity coefficient: twice the common volume over the sum of both volumes. "
    "1 is perfect, 0 no overlap. It is lenient with large organs and strict with small ones.",
    "iou": "Intersection over union (Jaccard): common volume over joint volume. It ranks two "
    "masks as DSC does, but its values are lower.",
    "precision": "The share of the predicted volume that is right. Low: too much was marked.",
    "recall": "The share of the true volume that was found. Low: too little was marked.",
    "hd95": "Distance between the surfaces, pooled: of all distances from surface to surface, "
    "both directions together, 95 % are no larger. So MedPy computes it, and the published "
    "Synapse tables use it. It must not share a table with the directed one.",
    "hd95_directed": "Distance between the surfaces, directed: the 95th percentile of each "
    "direction by itself, and the larger of the two. So MONAI computes it. It is never smaller "
    "by much and often larger than the pooled one.",
    "hd": "Hausdorff distance: the largest distance from one surface to the other. A single stray "
    "voxel decides it.",
    "assd": "Average symmetric surface distance: the mean distance between the surfaces, over "
    "both directions.",
    "boundary_iou": "Intersection over union of the thin shells along the two surfaces: an overlap "
    "that looks at the edge alone.",
    "lesions_found": "Connected parts of the truth that the prediction touches closely enough.",
    "lesions_missed": "Connected parts of the truth that the prediction lacks.",
    "lesions_invented": "Connected parts of the prediction without a counterpart in the truth.",
    "lesion_f1": "Of lesions found, missed and invented, one score: 1 if every lesion is found and "
    "none invented, whatever its shape.",
    "panoptic_quality": "Lesion F1 times the mean overlap of the lesions found: finding and "
    "outlining in one score.",
    "centre_distance_mm": "Distance between the centres of mass of truth and prediction.",
    "volume_pred_ml": "Volume of the prediction.",
    "volume_label_ml": "Volume of the truth.",
    "volume_difference_ml": "Predicted minus true volume; negative where too little was marked.",
}
PROGRAMS = {
    "transunet": "As TransUNet's test script prints it: an organ missing from the truth counts 1 "
    "and HD95 0 as soon as something is predicted, distances in voxels. Missing an organ can "
    "improve such a mean; the columns serve for comparison with papers only.",
    "medpy": "As MedPy returns it. A missed or absent organ has no distance.",
    "monai": "As MONAI returns it: organs absent from the truth are left out of its means.",
    "nnunet": "As nnU-Net's summary has it: an organ absent in both is left out.",
}


def notes_on(figures: Iterable[Figure], programs: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """What to say of the figures of a page.

    Args:
        figures: The metrics it shows.
        programs: Published conventions whose columns it shows.

    Returns:
        Heading → (plain words, the exact convention as the results state it).
    """
    notes: dict[str, tuple[str, str]] = {name: (text, "") for name, text in GENERAL.items()}
    for figure in figures:
        notes[figure.name] = (_plain(figure), figure.convention)
    for program in programs:
        notes[f"Columns of {program}"] = (PROGRAMS.get(program, ""), "")
    return {name: note for name, note in notes.items() if any(note)}


def _plain(figure: Figure) -> str:
    if figure.key.startswith("nsd_"):
        tolerance = figure.key.removeprefix("nsd_").removesuffix("mm")
        return (
            f"Normalised surface Dice: the share of both surfaces that lies within {tolerance} mm "
            "of the other. It asks how much of the outline a reader would have to redraw."
        )
    return METRICS.get(figure.key, "")


def programs_of(summary: Mapping[str, object]) -> Mapping[str, object]:
    """The published conventions in a summary; empty where there are none."""
    found = summary.get("conventions")
    return found if isinstance(found, dict) else {}

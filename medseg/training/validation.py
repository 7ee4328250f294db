"""How good the network is on whole cases it does not learn from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.slices import logits_of_slices
from medseg.inference.windows import logits_of_windows
from medseg.jobs import Progress, silent
from medseg.loading.geometry import PatchGeometry, SliceGeometry

Loss = Callable[..., torch.Tensor]  # of logits, or several sizes of them, and the label


class ValidationCase(Protocol):
    """What is asked of a case to validate on; stored cases and tiled exposures offer it."""

    @property
    def case_id(self) -> str:
        """Its name."""

    @property
    def images(self) -> np.ndarray:
        """Slices or tiles, float32, shape (Z, H, W)."""

    @property
    def classes(self) -> np.ndarray | None:
        """Class of every pixel, same shape; values that are no class are not scored."""


@dataclass(frozen=True)
class Validation:
    """What to validate on.

    Attributes:
        cases: Stored cases or tiled exposures with labels, none of which is trained on.
        labels: Organ → value; class k is the k-th organ.
        geometry: How slices, or patches of a volume, become the network's input.
        batch_size: Slices or patches per forward pass.
        max_cases: Validate on no more than this many, evenly spread over ``cases`` and the same
            ones every time; ``None``: on all.

    Raises:
        UsageError: If there are no cases, or some without label.
    """

    cases: Sequence[ValidationCase]
    labels: Mapping[str, int]
    geometry: SliceGeometry | PatchGeometry
    batch_size: int = 16
    max_cases: int | None = None

    def __post_init__(self) -> None:
        if not self.cases or not self.labels:
            raise UsageError("validation: expected at least one case and one organ, got none")
        if self.max_cases is not None and self.max_cases < 1:
            raise UsageError(f"max_cases must be 1 or more, got {self.max_cases}")
        bare = [case.case_id for case in self.cases if case.classes is None]
        if bare:
            raise UsageError(f"validation: expected cases with labels, {bare[0]} has none")

    @property
    def chosen(self) -> list[ValidationCase]:
        """The cases that are looked at."""
        count = min(len(self.cases), self.max_cases or len(self.cases))
        places = np.linspace(0, len(self.cases) - 1, count).round().astype(int)
        return [self.cases[place] for place in places]


@dataclass(frozen=True)
class Scores:
    """What a validation found.

    Attributes:
        loss: Mean over all slices, on the grid of the stored slices.
        dsc: Organ → mean DSC over the cases; ``None`` if no case has it and none was predicted.
    """

    loss: float
    dsc: Mapping[str, float | None]

    @property
    def mean_dsc(self) -> float | None:
        """Mean over the organs that could be scored."""
        scored = [value for value in self.dsc.values() if value is not None]
        return sum(scored) / len(scored) if scored else None


def validate(
    network: nn.Module,
    loss: Loss,
    validation: Validation,
    *,
    device: torch.device,
    precision: str = "float32",
    progress: Progress = silent,
) -> Scores:
    """Predict whole cases, slice by slice or by patches, and compare them with their classes.

    One forward pass gives both figures: the loss of the logits on the stored slices' own grid,
    and the DSC of each organ in each case. An organ missed or invented counts 0; one that is
    absent from both label and prediction does not count.
    """
    cases, organs = validation.chosen, list(validation.labels)
    per_case: list[np.ndarray] = []
    loss_sum, slices = 0.0, 0
    for done, case in enumerate(cases):
        progress("Validating", done, len(cases), case.case_id)
        confusion = np.zeros((len(organs) + 1,) * 2, dtype=np.int64)
        label = np.asarray(case.classes)
        for start, logits in _logits(network, case.images, validation, device, precision):
            truth = torch.from_numpy(label[start : start + len(logits)].astype(np.int64))
            truth = truth.to(device)
            with torch.inference_mode():
                loss_sum += float(loss(logits, truth)) * len(logits)
            confusion += _confusion(logits, truth, len(organs) + 1)
            slices += len(logits)
        per_case.append(dsc_of(confusion))
    progress("Validating", len(cases), len(cases))
    return Scores(loss_sum / slices, mean_per_organ(organs, per_case))


def _logits(
    network: nn.Module,
    images: np.ndarray,
    validation: Validation,
    device: torch.device,
    precision: str,
) -> Iterator[tuple[int, torch.Tensor]]:
    """First slice and logits (n, C, X, Y) of axial slices, in order."""
    geometry, batch_size = validation.geometry, validation.batch_size
    if isinstance(geometry, PatchGeometry):
        return logits_of_windows(
            network, images, geometry, batch_size=batch_size, device=device, precision=precision
        )
    return logits_of_slices(
        network, images, geometry, batch_size=batch_size, device=device, precision=precision
    )


def dsc_of(confusion: np.ndarray) -> np.ndarray:
    """DSC of every organ from counts of voxels, rows label and columns prediction.

    Args:
        confusion: Shape (C, C), background first.

    Returns:
        Shape (C - 1,); ``nan`` where an organ is in neither.
    """
    both = np.diag(confusion)[1:]
    sizes = confusion.sum(axis=0)[1:] + confusion.sum(axis=1)[1:]
    return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), np.nan)


def _confusion(logits: torch.Tensor, truth: torch.Tensor, num_classes: int) -> np.ndarray:
    if logits.shape[1] == 1:
        found = (logits[:, 0] > 0).long()
    else:
        found = logits.max(dim=1).indices
    known = (truth >= 0) & (truth < num_classes)
    pairs = torch.bincount((truth * num_classes + found)[known], minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes).cpu().numpy()


def mean_per_organ(
    organs: Sequence[str], per_case: Sequence[np.ndarray]
) -> dict[str, float | None]:
    """Mean over the cases that have a figure, organ by organ; ``None`` where none has.

    Args:
        organs: Names.
        per_case: Figures of each case, shape (organs,), ``nan`` where there is nothing to score.
    """
    table = np.stack(per_case)  # (cases, organs)
    columns = [column[~np.isnan(column)] for column in table.T]
    return {
        organ: float(column.mean()) if len(column) else None
        for organ, column in zip(organs, columns, strict=True)
    }

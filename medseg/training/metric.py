"""The figures of the evaluator as a MONAI metric, for validation during training."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric

from medseg.metrics import evaluate_case, keys_of
from medseg.training.validation import mean_per_organ

Reduction = Literal["mean", "mean_batch", "none"]


class CaseMetric(CumulativeIterationMetric):  # type: ignore[misc]
    """One metric of :func:`medseg.metrics.evaluate_case`, summed up over batches of cases.

    Called with ``y_pred`` and ``y``: class maps of shape (B, 1, H, W) or (B, 1, H, W, D), or
    lists of them without the batch axis, of integers or floats that hold whole numbers. It
    takes ``spacing``, one for all of the batch, as a keyword, and else reads it from ``y`` where
    that is a ``MetaTensor``. For MONAI's engines, wrap it into
    ``monai.handlers.IgniteMetricHandler(metric_fn=CaseMetric(...), output_transform=...)``.

    As in the evaluator's headline, an organ missed or invented counts 0, for distances the
    diagonal of its image; an organ that is in neither map is left out.

    Args:
        labels: Organ name → value, or several values: a region.
        metric: A name from :data:`medseg.metrics.METRICS`.
        tolerance_mm: Of the NSD.
        spacing: Distance between voxel centres along each spatial axis, in mm, where neither the
            call nor ``y`` says.
        reduction: What :meth:`aggregate` gives: ``"mean"``, the mean over organs of the means
            over cases; ``"mean_batch"``, the mean of each organ; ``"none"``, every case.

    Raises:
        ValueError: If the metric or the reduction is unknown; in a call, if the maps have
            another number of channels than one, differ in shape, or come without spacing.
    """

    def __init__(
        self,
        labels: Mapping[str, int | Sequence[int]],
        metric: str = "dsc",
        *,
        tolerance_mm: float = 2.0,
        spacing: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "mean_batch", "none"):
            raise ValueError(f"reduction must be mean, mean_batch or none, got {reduction!r}")
        self.labels = dict(labels)
        self.metric = metric
        self.tolerance_mm = tolerance_mm
        self.spacing = spacing
        self.reduction = reduction
        (self.key,) = keys_of([metric], [tolerance_mm])

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        spacing: Sequence[float] | None = None,
    ) -> torch.Tensor:
        """The figure of every case and organ, shape (B, organs)."""
        if y is None or y.shape != y_pred.shape or y.ndim < 4 or y.shape[1] != 1:
            shapes = f"y_pred {tuple(y_pred.shape)}, y {None if y is None else tuple(y.shape)}"
            raise ValueError(
                f"y_pred and y must be class maps of one shape (B, 1, …), got {shapes}"
            )
        spacings = self._spacings(y, spacing)
        rows = [
            self._of_case(*case)
            for case in zip(_arrays(y_pred), _arrays(y), spacings, strict=True)
        ]  # fmt: skip
        return torch.as_tensor(np.array(rows), dtype=torch.float32, device=y_pred.device)

    def aggregate(self, reduction: Reduction | None = None) -> torch.Tensor:
        """Sum up all cases seen since the last reset.

        Args:
            reduction: Instead of the one given at the start.

        Returns:
            A single number, shape (organs,) or shape (cases, organs); ``nan`` where no case has
            the organ and none was predicted.

        Raises:
            ValueError: If no case was seen.
        """
        figures = self.get_buffer()
        if figures is None:
            raise ValueError(f"{type(self).__name__} was given no case to sum up")
        reduction = reduction or self.reduction
        if reduction == "none":
            return torch.as_tensor(figures)
        means = mean_per_organ(list(self.labels), figures.cpu().numpy().astype(float))
        known = [value for value in means.values() if value is not None]
        if reduction == "mean":
            return torch.tensor(sum(known) / len(known) if known else float("nan"))
        return torch.tensor([float("nan") if mean is None else mean for mean in means.values()])

    def _of_case(
        self, pred: np.ndarray, label: np.ndarray, spacing: Sequence[float]
    ) -> list[float]:
        figures = evaluate_case(
            pred, label, spacing, self.labels,
            metrics=[self.metric], tolerances_mm=[self.tolerance_mm],
        )  # fmt: skip
        diagonal = float(np.linalg.norm(np.multiply(label.shape, spacing)))
        values = [figures[organ][self.key] for organ in self.labels]
        return [diagonal if np.isinf(value) else value for value in values]

    def _spacings(
        self, y: torch.Tensor, spacing: Sequence[float] | None
    ) -> list[tuple[float, ...]]:
        axes = y.ndim - 2
        given = spacing if spacing is not None else self.spacing
        if spacing is None and isinstance(y, MetaTensor):
            pixdim = y.pixdim if y.is_batch else [y.pixdim] * len(y)
            return [tuple(float(length) for length in each[:axes]) for each in pixdim]
        if given is None:
            raise ValueError("spacing must be given, since y is no MetaTensor that knows it")
        return [tuple(float(length) for length in given)] * len(y)


def _arrays(maps: torch.Tensor) -> np.ndarray:
    plain = maps.as_tensor() if isinstance(maps, MetaTensor) else maps
    return plain[:, 0].cpu().numpy()

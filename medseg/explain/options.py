"""What can be chosen of a method."""

from dataclasses import dataclass

from medseg.errors import UsageError


@dataclass(frozen=True)
class Options:
    """Choices of all methods; each heeds those that concern it.

    Attributes:
        layer: For ``raw`` the attention layer, from 0, the last by default; for those that
            multiply layers, the first of them.
        head: For ``raw`` one head, from 0; all by default, joined as ``heads`` says.
        heads: How heads are joined where no method prescribes it: ``"mean"``, ``"max"``, ``"min"``.
        discard: Share of the smallest weights of a layer that rollouts set to 0.
        module: For ``grad_cam`` the module whose features are weighted, by its dotted name; by
            default the last one at the coarsest resolution.
        steps: For ``integrated_gradients``, between the baseline and the image.
        window: Side of the patch that ``occlusion`` covers, in pixels; half of it is its stride.
            By default a seventh of the image, a quarter of a volume.
        baseline: What stands for nothing in ``integrated_gradients`` and ``occlusion``: the
            network's number for it, 0 for the lower end of the intensity window.
        seed: Of ``random``.
        most_bytes: What attention weights may take in memory; where volumes are explained,
            what the process may.
    """

    layer: int | None = None
    head: int | None = None
    heads: str = "mean"
    discard: float = 0.0
    module: str | None = None
    steps: int = 16
    window: int | None = None
    baseline: float = 0.0
    seed: int = 0
    most_bytes: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, got {value}")

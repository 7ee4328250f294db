"""What is asked of a model about a volume."""

from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import UsageError
from medseg.explain import Options, find_method

ROLLED = {"rollout", "gradient_rollout", "attention_gradient", "tiba"}
HEEDED = {  # option → methods that heed it
    "layer": {"raw"} | ROLLED,
    "head": {"raw"},
    "heads": {"raw", "rollout"},
    "discard": {"rollout", "gradient_rollout"},
    "module": {"grad_cam"},
}
KNOWN = {"integrated_gradients", "occlusion", "random"}.union(*HEEDED.values())


@dataclass(frozen=True)
class Request:
    """What is to be explained, and how.

    Attributes:
        organ: Whose logits are explained, or ``"background"``.
        against: Another organ, for what speaks for the one rather than the other.
        methods: One or more of :func:`medseg.explain.method_names`.
        slice_index: Axial slice of the file; by default the one in which the organ is largest.
        whole_volume: All slices that the target lies in, instead of one.
        voxel: Explain this voxel of the file alone, indices as the file has them.
        region: Label map on the image's grid: explain what is not 0 there. Without voxel and
            region, the target is where the model finds the organ.
        options: Choices of the methods.
        views: Draw raw attention of every layer and head as well, and views of the network.

    Raises:
        UsageError: If these do not go together.
    """

    organ: str
    against: str | None = None
    methods: tuple[str, ...] = ("tiba",)
    slice_index: int | None = None
    whole_volume: bool = False
    voxel: tuple[int, int, int] | None = None
    region: Path | None = None
    options: Options = field(default_factory=Options)
    views: bool = False

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("expected at least one method, got none")
        for name in self.methods:
            find_method(name)
        if self.against == self.organ:
            raise UsageError(f"{self.organ} cannot be held against itself: name another organ")
        self._check_heeded()
        if self.voxel is not None and self.region is not None:
            raise UsageError("give a voxel or a region, not both")
        if self.whole_volume and (self.slice_index is not None or self.voxel is not None):
            raise UsageError("give a slice or voxel, or ask for the whole volume, not both")
        if self.voxel is not None and self.slice_index is not None:
            raise UsageError("a voxel says which slice it is in: leave out the slice")

    def _check_heeded(self) -> None:
        """Refuse an option that would change nothing; methods of a user's own may heed any."""
        if not set(self.methods) <= KNOWN:
            return
        for option, methods in HEEDED.items():
            given = getattr(self.options, option) != getattr(Options(), option)
            if given and not methods & set(self.methods):
                known, asked = ", ".join(sorted(methods)), ", ".join(self.methods)
                raise UsageError(f"{option} is heeded by {known}, not by {asked}")

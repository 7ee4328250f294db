"""Which share of the items a process takes, and where it computes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import UsageError
from medseg.jobs.outcome import Item


@dataclass(frozen=True)
class JobSettings:
    """How the work is split; the defaults do all of it here.

    Attributes:
        num_parts: Into how many parts the items are split, for array jobs; ``None``: not split.
        part_id: Which part this process takes, from 0: ``items[part_id::num_parts]``.
        merge: Compute nothing; gather what the parts have left in the journal.
        cluster: Address of a Dask scheduler, such as ``tcp://host:8786``, that computes instead
            of processes on this machine.

    Raises:
        UsageError: If they do not fit together.
    """

    num_parts: int | None = None
    part_id: int | None = None
    merge: bool = False
    cluster: str | None = None

    def __post_init__(self) -> None:
        if (self.num_parts is None) != (self.part_id is None):
            raise UsageError("--num-parts and --part-id belong together: give both or neither")
        if self.num_parts is None or self.part_id is None:
            return
        if self.merge:
            raise UsageError("--merge gathers all parts: leave out --num-parts and --part-id")
        if not 0 <= self.part_id < self.num_parts:
            wanted = "at least one part, and a part id from 0 to one less than their number"
            raise UsageError(
                f"expected {wanted}, got --num-parts {self.num_parts} --part-id {self.part_id}"
            )

    @property
    def part(self) -> tuple[int, int] | None:
        """(part_id, num_parts), or ``None`` if this process takes all."""
        if self.num_parts is None or self.part_id is None:
            return None
        return self.part_id, self.num_parts

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items that this process takes, in order."""
        return items if self.part is None else items[self.part_id :: self.num_parts]

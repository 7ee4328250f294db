"""A layer's matrix, its heads joined: made as a whole, or a few columns at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from medseg.explain.reading import Layer
from medseg.explain.rolling import discard_lowest, fuse_heads


@dataclass(frozen=True)
class Joined:
    """What tokens take from each other in one layer, a matrix (B, N, N) that is never kept.

    Attributes:
        layer: Of the network.
        parts: Numbers in place of what the layer's softmaxes gave.
        columns: How many of the matrix are made at once.
        heads: How they are joined: ``"mean"``, ``"max"`` or ``"min"``.
        head: One of them alone instead.
        positive: Whether what is below 0 once they are joined counts as 0.
        discard: Share of the smallest numbers that counts as 0.
        keep_first: Whether the first token's look at itself is no part of that share.
        lowest: The number up to which that is, (B,), where the matrix is made in columns.
    """

    layer: Layer
    parts: list[torch.Tensor]
    columns: int
    heads: str = "mean"
    head: int | None = None
    positive: bool = False
    discard: float = 0.0
    keep_first: bool = False
    lowest: torch.Tensor | None = None

    def without_lowest(self, share: float, *, keep_first: bool) -> "Joined":
        """Without a share of the smallest numbers, as :func:`discard_lowest` says.

        In columns, numbers equal to the largest of these go as well.
        """
        self._check_share(share)
        if self.columns >= self.layer.tokens or share == 0:
            return replace(self, discard=share, keep_first=keep_first)
        count = int(self.layer.tokens**2 * share)
        found = [[one[one != 0] for one in block] for _, block in self.blocks()]
        numbers = [torch.cat(list(row)) for row in zip(*found, strict=True)]
        nothing = [self.layer.tokens**2 - len(row) for row in numbers]  # all else is 0
        lowest = [
            row.kthvalue(count - zeros).values if count > zeros else row.new_zeros(())
            for row, zeros in zip(numbers, nothing, strict=True)
        ]
        return replace(self, lowest=torch.stack(lowest))

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Columns, and what the matrix has there, (B, N, columns)."""
        for start in range(0, self.layer.tokens, self.columns):
            wanted = slice(start, min(start + self.columns, self.layer.tokens))
            block = self.layer.columns(self.parts, wanted)
            if self.head is not None:
                block = block[:, self.head, None]
            fused = fuse_heads(block, self.heads)
            fused = fused.clamp(min=0) if self.positive else fused
            if self.discard:
                fused = discard_lowest(fused, self.discard, keep_first=self.keep_first)
            if self.lowest is not None:
                fused = fused.where(fused > self.lowest[:, None, None], torch.zeros_like(fused))
            yield wanted, fused

    def sums(self) -> torch.Tensor:
        """Of its rows, (B, N)."""
        if self._is_mean:
            return self.layer.sums(self.parts).mean(dim=1)
        rows = [block.sum(dim=-1) for _, block in self.blocks()]
        return torch.stack(rows).sum(dim=0)

    def pulled(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows times the matrix, (B, N) to (B, N)."""
        if self._is_mean and self.layer.pull is not None and not self.layer.is_whole:
            return self.layer.pull(self.parts, rows)
        products = [(rows[:, None] @ block)[:, 0] for _, block in self.blocks()]
        return torch.cat(products, dim=1)

    @property
    def _is_mean(self) -> bool:
        """Whether it is no more than the mean of the heads' matrices."""
        all_heads = self.heads == "mean" and self.head is None
        return all_heads and not self.positive and not self.discard and self.lowest is None

    @staticmethod
    def _check_share(share: float) -> None:
        discard_lowest(torch.zeros(1, 1, 1), share, keep_first=False)

"""From the attention of each layer to what tokens take from all others through all layers."""

from collections.abc import Callable, Sequence

import torch

from medseg.errors import UsageError

Pull = Callable[[torch.Tensor], torch.Tensor]
FUSIONS = ("mean", "max", "min")


def fuse_heads(weights: torch.Tensor, how: str) -> torch.Tensor:
    """Mean, largest or smallest over heads; shape (B, M, N, any) to (B, N, any).

    Raises:
        UsageError: If ``how`` is none of these.
    """
    if how not in FUSIONS:
        raise UsageError(f"heads must be one of {', '.join(FUSIONS)}, got {how!r}")
    if how == "mean":
        return weights.mean(dim=1)
    return weights.amax(dim=1) if how == "max" else weights.amin(dim=1)


def discard_lowest(matrix: torch.Tensor, ratio: float, *, keep_first: bool) -> torch.Tensor:
    """Set a share of the smallest weights of a matrix to 0.

    Args:
        matrix: Shape (B, N, N); each of the batch loses its own smallest.
        ratio: At least 0 and below 1.
        keep_first: Whether the first token's look at itself stays, as of a class token.

    Raises:
        UsageError: If the ratio is no such number.
    """
    if not 0 <= ratio < 1:
        raise UsageError(f"discard must be at least 0 and below 1, got {ratio}")
    flat = matrix.flatten(1)
    lowest = flat.topk(int(flat.shape[1] * ratio), dim=1, largest=False).indices
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter(1, lowest, True)
    if keep_first:
        mask[:, 0] = False
    return flat.masked_fill(mask, 0).view_as(matrix)


def placed(part: torch.Tensor, start: int, tokens: int) -> torch.Tensor:
    """A layer's tokens (B, N) among all there are, (B, T), 0 elsewhere.

    Tokens that a layer does not have take nothing from any, give nothing to any, keep nothing.
    """
    whole = part.new_zeros(len(part), tokens)
    whole[:, start : start + part.shape[1]] = part
    return whole


def rolled(rows: torch.Tensor, gains: Sequence[Pull], kept: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of (D_L + G_L) … (D_1 + G_1) - D_L … D_1, with diagonal matrices D.

    What tokens keep of themselves past all layers is left out: of a region it would be the region
    again, and beside it all else may be too small to be seen, or even to be computed. The row of
    a class token gives the same for the tokens of the grid with it or without.

    Args:
        rows: How much of each token's row is wanted, shape (B, T).
        gains: What multiplies rows with G of each layer, first layer first, (B, T) to (B, T).
        kept: Diagonal of D of each layer, each (B, T).

    Returns:
        Shape (B, T).
    """
    passed, gain = rows, torch.zeros_like(rows)
    for pull, share in zip(reversed(gains), reversed(kept), strict=True):
        gain = gain * share + pull(passed + gain)
        passed = passed * share
    return gain

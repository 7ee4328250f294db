"""From the attention of each layer to what tokens take from all others through all layers."""

from collections.abc import Sequence

import torch

from medseg.errors import UsageError

FUSIONS = ("mean", "max", "min")


def fuse_heads(weights: torch.Tensor, how: str) -> torch.Tensor:
    """Mean, largest or smallest over heads; shape (B, M, N, N) to (B, N, N).

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


def with_residual(matrix: torch.Tensor) -> torch.Tensor:
    """Half attention, half what passes by it: (A + I) / 2, each row scaled to sum to 1."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    mixed = (matrix + identity) / 2
    return mixed / mixed.sum(dim=-1, keepdim=True)


def placed(matrix: torch.Tensor, start: int, tokens: int) -> torch.Tensor:
    """A layer's matrix among those of all tokens there are; shape (B, N, N) to (B, T, T).

    Tokens that a layer does not have take nothing from any and give nothing to any.
    """
    size = matrix.shape[-1]
    if size == tokens:
        return matrix
    whole = matrix.new_zeros(len(matrix), tokens, tokens)
    whole[:, start : start + size, start : start + size] = matrix
    return whole


def rolled(rows: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of A_L … A_1, the product over all layers.

    Args:
        rows: How much of each token's row is wanted, shape (B, T).
        matrices: One per layer, first layer first, each (B, T, T).

    Returns:
        Shape (B, T).
    """
    for matrix in reversed(matrices):
        rows = (rows[:, None] @ matrix)[:, 0]
    return rows


def gained(
    rows: torch.Tensor, gains: Sequence[torch.Tensor], present: torch.Tensor
) -> torch.Tensor:
    """Rows of (I + G_L) … (I + G_1) - I, kept apart from I, beside which they may be tiny.

    Args:
        rows: How much of each token's row is wanted, shape (B, T).
        gains: One per layer, first layer first, each (B, T, T).
        present: Which tokens each layer has, 1 or 0, shape (L, T); rows may want only those that
            all have.

    Returns:
        Shape (B, T).
    """
    gain = torch.zeros_like(rows)
    for matrix, tokens in zip(reversed(gains), reversed(present.unbind()), strict=True):
        gain = gain * tokens + ((rows + gain)[:, None] @ matrix)[:, 0]
    return gain

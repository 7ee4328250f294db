"""Attention written down a second time, from the coordinates of tokens, one pair at a time."""

import itertools

import torch


def dense(layer, tokens, mask, bias=0.0):
    """All products of all tokens, minus infinity where the mask (M, N, N) says no."""
    q, k, v = layer.qkv(tokens).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    products = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias
    mixed = products.masked_fill(~mask, -torch.inf).softmax(-1) @ v
    return layer.proj(mixed.transpose(1, 2).flatten(2))


def pairs(grid, sees):
    """A mask (N, N) from a rule for two places."""
    places = list(itertools.product(*map(range, grid)))
    return torch.tensor([[sees(a, b) for b in places] for a in places])


def window_of(grid, window, shifted):
    """From a place to its window: even windows, of which odd layers begin half a one later."""
    sizes = [-(-size // -(-size // window)) for size in grid]
    starts = [s // 2 if shifted and s < size else 0 for s, size in zip(sizes, grid, strict=True)]
    return lambda place: tuple(
        (p - start) // s for p, s, start in zip(place, sizes, starts, strict=True)
    )


def window_mask(grid, window, shifted):
    of = window_of(grid, window, shifted)
    return pairs(grid, lambda a, b: of(a) == of(b))


def dilated_mask(grid, window):
    steps = [-(-size // min(size, window)) for size in grid]
    return pairs(
        grid,
        lambda a, b: all((i - j) % step == 0 for i, j, step in zip(a, b, steps, strict=True)),
    )


def same_but_along(grid, axes):
    return pairs(grid, lambda a, b: all(a[n] == b[n] for n in range(len(grid)) if n not in axes))


def window_bias(grid, table):
    """Bias (M, N, N): each head's number for the offset of two tokens, 0 in the middle."""
    places = torch.tensor(list(itertools.product(*map(range, grid))))
    middle = torch.tensor([size // 2 for size in table.shape[1:]])
    offsets = places[:, None] - places[None] + middle
    inside = torch.minimum(offsets.clamp(min=0), 2 * middle)  # others are masked anyway
    return table[(slice(None), *inside.unbind(-1))]

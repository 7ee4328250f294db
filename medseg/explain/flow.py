"""What all methods that read attention share: a pass through the network, and the way back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.options import Options
from medseg.explain.places import places_of_tokens
from medseg.explain.reading import Grid, Reading, reading_attention
from medseg.explain.rolling import placed, rolled
from medseg.explain.targets import Target


@dataclass(frozen=True)
class Attended:
    """Attention of all layers for a batch of images, without any graph.

    Attributes:
        weights: One per layer, first layer first, each (B, M, N, N).
        gradients: Of the target's score with respect to them; empty if not asked for.
        starts: Index of each layer's first token among all tokens there are.
        rows: How much of each token is the target, (B, T), summing to 1.
        before: Tokens before those of the grid.
        grid: Tokens along each axis.
    """

    weights: list[torch.Tensor]
    gradients: list[torch.Tensor]
    starts: list[int]
    rows: torch.Tensor
    before: int
    grid: Grid

    @property
    def has_first_token(self) -> bool:
        """Whether there is a token before those of the grid."""
        return self.before > 0

    def placed(self, parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The layers' matrices (B, N, N) or vectors (B, N), each brought among all T tokens."""
        total = self.rows.shape[1]
        return [placed(one, start, total) for one, start in zip(parts, self.starts, strict=True)]

    def on_grid(self, tokens: torch.Tensor) -> torch.Tensor:
        """What tokens of the grid have, (B, T) to (B, *grid)."""
        count = math.prod(self.grid)
        return tokens[:, self.before : self.before + count].reshape(len(tokens), *self.grid)

    def layer(self, index: int | None, default: int) -> int:
        """A layer that there is.

        Raises:
            UsageError: If there is no such layer.
        """
        count = len(self.weights)
        index = default if index is None else index
        if not 0 <= index < count:
            raise UsageError(f"layer must be 0 to {count - 1} in this network, got {index}")
        return index

    def rolled(
        self, gains: Sequence[torch.Tensor], kept: Sequence[torch.Tensor], first: int | None
    ) -> torch.Tensor:
        """What the target takes from each token of the grid through all layers, (B, *grid).

        Args:
            gains: What tokens take from each other, one per layer, each (B, N, N).
            kept: What they keep of themselves beside it, each (B, N).
            first: Layer from which they are multiplied, 0 by default.
        """
        layer = self.layer(first, 0)
        whole = rolled(self.rows, self.placed(gains)[layer:], self.placed(kept)[layer:])
        return self.on_grid(whole)


def attend(
    network: nn.Module,
    image: torch.Tensor,
    target: Target,
    options: Options,
    *,
    gradients: bool = False,
) -> Attended:
    """Run the network and read its attention, with gradients of the target's score if asked for.

    Raises:
        UsageError: If the network has no attention of all tokens to all.
        ResourceError: If the weights would take more memory than allowed.
    """
    with (
        reading_attention(network, options.most_bytes) as reading,
        torch.set_grad_enabled(gradients),
    ):
        logits = network(image)
    given: list[torch.Tensor] = []
    if gradients:
        with torch.enable_grad():
            given = gradients_by_layer(target.score(logits).sum(), reading)
    weights = [layer.weights.detach() for layer in reading.layers]
    check_dense(reading, weights)
    before = max(layer.before for layer in reading.layers)
    return Attended(
        weights=weights,
        gradients=given,
        starts=[before - layer.before for layer in reading.layers],
        rows=_rows(reading, network, image, target, _tokens(reading, weights)),
        before=before,
        grid=reading.grid,
    )


def gradients_by_layer(
    total: torch.Tensor, reading: Reading, start: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Gradients with respect to each layer's weights, placed as these are, (B, M, N, N).

    Not while attention is read: placing runs a pattern again.
    """
    flat = iter(
        gradients_of(total, [one for layer in reading.layers for one in layer.parts], start)
    )
    return [layer.place([next(flat) for _ in layer.parts]) for layer in reading.layers]


def gradients_of(
    total: torch.Tensor, tensors: Sequence[torch.Tensor], start: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Gradients with respect to tensors of the graph; zeros for those it does not depend on."""
    found = torch.autograd.grad(total, tensors, start, allow_unused=True)
    return [
        torch.zeros_like(tensor) if one is None else one
        for one, tensor in zip(found, tensors, strict=True)
    ]


def check_dense(reading: Reading, weights: Sequence[torch.Tensor]) -> None:
    """Refuse what is no attention between tokens of a known grid.

    Raises:
        UsageError: If so.
    """
    tokens = math.prod(reading.grid)
    for layer, one in zip(reading.layers, weights, strict=True):
        if one.ndim != 4 or not reading.grid or one.shape[-1] < tokens:
            raise UsageError(
                f"{layer.name}: expected attention between all {tokens} tokens, got weights of "
                f"shape {tuple(one.shape)}; grad_cam and occlusion explain any network"
            )


def _tokens(reading: Reading, weights: Sequence[torch.Tensor]) -> tuple[int, int]:
    """All tokens there are in any layer, and those before the grid."""
    count = math.prod(reading.grid)
    pairs = list(zip(reading.layers, weights, strict=True))
    before = max(layer.before for layer, _ in pairs)
    after = max(one.shape[-1] - count - layer.before for layer, one in pairs)
    return before + count + after, before


def _rows(
    reading: Reading,
    network: nn.Module,
    image: torch.Tensor,
    target: Target,
    tokens: tuple[int, int],
) -> torch.Tensor:
    """Which tokens the score is read from: class tokens, or those where the region is."""
    grid, count = reading.grid, math.prod(reading.grid)
    total, before = tokens
    rows = image.new_zeros(len(image), total)
    on_grid = slice(before, before + count)
    if target.region is not None:
        places = places_of_tokens(network, image)
        rows[:, on_grid] = places.shares(target.region, grid).flatten(1).to(rows.dtype)
        return rows
    read = reading.read_tokens
    for token in read:
        if token is None:
            rows[:, on_grid] += 1 / count / len(read)
        else:
            rows[:, token] += 1 / len(read)
    return rows

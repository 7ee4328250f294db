"""What all methods that read attention share: a pass through the network, and the way back."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.explain.joined import Joined
from medseg.explain.options import Options
from medseg.explain.places import places_of_tokens
from medseg.explain.reading import Grid, Layer, Reading, reading_attention
from medseg.explain.rolling import Pull, placed, rolled
from medseg.explain.targets import Target

Parts = list[torch.Tensor]
WHOLE_BYTES = 2**28  # of a layer's matrix that is made as a whole
AT_ONCE = 4  # of these columns in memory: unit vectors, what is mixed, and copies of it


@dataclass(frozen=True)
class Attended:
    """Attention of all layers for a batch of images, without any graph.

    Attributes:
        layers: First layer first.
        weights: What each layer's softmaxes gave.
        gradients: Of the target's score with respect to it; empty if not asked for.
        starts: Index of each layer's first token among all tokens there are.
        rows: How much of each token is the target, (B, T), summing to 1.
        before: Tokens before those of the grid.
        grid: Tokens along each axis.
        most_bytes: What a layer's matrix may take in memory while it is looked at; of one that
            would take more, some columns are made at once.
    """

    layers: list[Layer]
    weights: list[Parts]
    gradients: list[Parts]
    starts: list[int]
    rows: torch.Tensor
    before: int
    grid: Grid
    most_bytes: float

    @property
    def has_first_token(self) -> bool:
        """Whether there is a token before those of the grid."""
        return self.before > 0

    def layer(self, index: int | None, default: int) -> int:
        """A layer that there is.

        Raises:
            UsageError: If there is no such layer.
        """
        count = len(self.layers)
        index = default if index is None else index
        if not 0 <= index < count:
            raise UsageError(f"layer must be 0 to {count - 1} in this network, got {index}")
        return index

    def joined(self, numbers: Sequence[Parts]) -> list[Joined]:
        """The layers' matrices of what stands in place of their weights, heads joined by mean."""
        return [
            Joined(layer, parts, self._columns(layer, parts))
            for layer, parts in zip(self.layers, numbers, strict=True)
        ]

    def looked_at(self, gain: Joined, layer: int) -> torch.Tensor:
        """What the target takes from each token of the grid in one layer alone, (B, *grid)."""
        return self._on_grid(self._pull(gain, layer)(self.rows))

    def rolled(
        self, gains: Sequence[Joined], first: int | None, *, halved: bool = False
    ) -> torch.Tensor:
        """What the target takes from each token of the grid through all layers, (B, *grid).

        Args:
            gains: What tokens take from each other, one for each layer; they keep themselves
                beside it.
            first: Layer from which they are multiplied, 0 by default.
            halved: Whether all that a token takes and keeps is scaled to sum to 1.
        """
        pulls, kept = [], []
        for layer in range(self.layer(first, 0), len(gains)):
            gain, start = gains[layer], self.starts[layer]
            sums = gain.sums() + 1 if halved else torch.ones_like(self._own(self.rows, layer))
            pulls.append(self._pull(gain, layer, sums))
            kept.append(placed(1 / sums, start, self.rows.shape[1]))
        return self._on_grid(rolled(self.rows, pulls, kept))

    def _pull(self, gain: Joined, layer: int, sums: torch.Tensor | float = 1.0) -> Pull:
        def pull(rows: torch.Tensor) -> torch.Tensor:
            found = gain.pulled(self._own(rows, layer) / sums)
            return placed(found, self.starts[layer], rows.shape[1])

        return pull

    def _own(self, rows: torch.Tensor, layer: int) -> torch.Tensor:
        start = self.starts[layer]
        return rows[:, start : start + self.layers[layer].tokens]

    def _on_grid(self, tokens: torch.Tensor) -> torch.Tensor:
        """What tokens of the grid have, (B, T) to (B, *grid)."""
        count = math.prod(self.grid)
        return tokens[:, self.before : self.before + count].reshape(len(tokens), *self.grid)

    def _columns(self, layer: Layer, parts: Parts) -> int:
        if layer.is_whole:
            return layer.tokens
        column = layer.shape[0] * layer.heads * layer.tokens * parts[0].element_size()
        return max(1, min(layer.tokens, int(self.most_bytes / (AT_ONCE * column))))


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
        UsageError: If the network has no attention between the tokens of one grid.
        ResourceError: If the weights would take more memory than allowed.
    """
    with (
        reading_attention(network, options.most_bytes) as reading,
        torch.set_grad_enabled(gradients),
    ):
        logits = network(image)
    check_one_grid(network, reading, len(image))
    given: list[Parts] = []
    if gradients:
        with torch.enable_grad():
            given = gradients_by_layer(target.score(logits).sum(), reading)
    for layer in reading.layers:
        layer.parts = [part.detach() for part in layer.parts]
    before = max(layer.before for layer in reading.layers)
    return Attended(
        layers=reading.layers,
        weights=[layer.parts for layer in reading.layers],
        gradients=given,
        starts=[before - layer.before for layer in reading.layers],
        rows=_rows(reading, network, image, target),
        before=before,
        grid=reading.grid,
        most_bytes=min(options.most_bytes or WHOLE_BYTES, WHOLE_BYTES),
    )


def by_number(function: Callable[..., torch.Tensor], *several: Sequence[Parts]) -> list[Parts]:
    """A function of numbers that belong together, layer by layer and part by part."""
    return [
        [function(*numbers) for numbers in zip(*parts, strict=True)]
        for parts in zip(*several, strict=True)
    ]


def gradients_by_layer(
    total: torch.Tensor, reading: Reading, start: torch.Tensor | None = None
) -> list[Parts]:
    """Gradients with respect to what each layer's softmaxes gave."""
    tensors = [one for layer in reading.layers for one in layer.parts]
    flat = iter(gradients_of(total, tensors, start))
    return [[next(flat) for _ in layer.parts] for layer in reading.layers]


def gradients_of(
    total: torch.Tensor, tensors: Sequence[torch.Tensor], start: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Gradients with respect to tensors of the graph; zeros for those it does not depend on."""
    found = torch.autograd.grad(total, tensors, start, allow_unused=True)
    return [
        torch.zeros_like(tensor) if one is None else one
        for one, tensor in zip(found, tensors, strict=True)
    ]


def check_one_grid(network: nn.Module, reading: Reading, batch: int) -> None:
    """Refuse what is no attention between the tokens of one grid that spans the image.

    Raises:
        UsageError: If so.
    """
    tokens = math.prod(reading.grid)
    for layer in reading.layers:
        shape = layer.shape
        if len(shape) == 3 and shape[0] == batch and reading.grid and shape[1] >= tokens:
            continue
        raise UsageError(
            f"{type(network).__name__}: expected attention among all {tokens} tokens of "
            f"{batch} image(s), but {layer.name} reads tokens of shape {tuple(shape)}, as where "
            "parts of an image are looked at apart; grad_cam, integrated_gradients and occlusion "
            "explain any network"
        )


def _tokens(reading: Reading) -> tuple[int, int]:
    """All tokens there are in any layer, and those before the grid."""
    count = math.prod(reading.grid)
    before = max(layer.before for layer in reading.layers)
    after = max(layer.tokens - count - layer.before for layer in reading.layers)
    return before + count + after, before


def _rows(
    reading: Reading,
    network: nn.Module,
    image: torch.Tensor,
    target: Target,
) -> torch.Tensor:
    """Which tokens the score is read from: class tokens, or those where the region is."""
    grid, count = reading.grid, math.prod(reading.grid)
    total, before = _tokens(reading)
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

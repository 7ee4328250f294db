"""Vision Transformer (ViT): an image as a sequence of patches; parameters are named as in timm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.grid import Grid
from medseg.networks.layers.patch_embedding import PatchEmbed
from medseg.networks.layers.positions import (
    added_positions,
    check_positions,
    position_table,
    relative_bias,
)
from medseg.networks.layers.transformer import EPS, Block


@dataclass(frozen=True)
class ViTSizes:
    """The sizes of a variant, each of which ViT takes by name."""

    hidden_size: int
    mlp_dim: int
    num_heads: int
    num_layers: int
    patch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("hidden_size", "mlp_dim", "num_heads", "num_layers", "patch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise UsageError(
                "hidden_size must be a multiple of num_heads, got "
                f"{self.hidden_size} and {self.num_heads}"
            )


# width, MLP, heads, layers: B, L, H from arXiv:2010.11929, Ti and S from arXiv:2012.12877
WIDTHS = {
    "Ti": (192, 768, 3, 12),
    "S": (384, 1536, 6, 12),
    "B": (768, 3072, 12, 12),
    "L": (1024, 4096, 16, 24),
    "H": (1280, 5120, 16, 32),
}
PATCHES = (8, 14, 16, 32)
VARIANTS = {
    f"ViT-{name}_{patch}": ViTSizes(*width, patch_size=patch)
    for name, width in WIDTHS.items()
    for patch in PATCHES
}


class ViT(nn.Module):
    """Vision Transformer for images (2D) and volumes (3D), to classify or to give features.

    Args:
        image_size: Sides of the image, two or three; one number stands for a square image. Images
            of other sizes are taken too: their position embeddings are resized, and sides that
            are no multiples of the patch are padded with zeros.
        in_channels: Channels of the image.
        num_classes: Classes; 0 for a network without a head.
        variant: ``"ViT-B_16"``: Ti, S, B, L or H, and patch 8, 14, 16 or 32; the sizes below,
            unless given.
        patch_size: Side of a patch.
        hidden_size: Width C of a token.
        mlp_dim: Width inside the MLPs.
        num_heads: Attention heads.
        num_layers: Blocks.
        class_token: Whether a learned token goes first, which the head reads. Without it the
            head reads the mean over all tokens.
        distillation_token: Whether a second one follows, with a head of its own (DeiT).
        positions: ``"learned_1d"``, ``"learned_2d"`` (one embedding for the row and one for the
            column), ``"sincos"``, ``"relative"`` (a bias of attention) or ``"none"``.
        positions_at: ``"stem"``, before the first block; ``"every_layer"``, before each block and
            learned for each; or ``"shared"``, before each block and the same for all. Default:
            ``"stem"``, and ``"every_layer"`` for relative positions.
        dropout: Share of numbers dropped after the embedding and in the MLPs in training.
        attention_dropout: Share of attention weights dropped in training.
        norm_eps: Added to the variance by every layer norm.

    Attributes:
        grid: Tokens along each axis that the positions are learned for.
        extra_tokens: Tokens before those of the grid: class and distillation token.

    Raises:
        UsageError: If a size or choice does not fit.

    Source:
        Dosovitskiy et al., arXiv:2010.11929; distillation token: Touvron et al., DeiT,
        arXiv:2012.12877.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, cited by these names
        self,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        num_classes: int = 1000,
        variant: str = "ViT-B_16",
        *,
        patch_size: int | None = None,
        hidden_size: int | None = None,
        mlp_dim: int | None = None,
        num_heads: int | None = None,
        num_layers: int | None = None,
        class_token: bool = True,
        distillation_token: bool = False,
        positions: str = "learned_1d",
        positions_at: str | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm_eps: float = EPS,
    ) -> None:
        super().__init__()
        sizes = pick_sizes(VARIANTS, variant, {
            "patch_size": patch_size, "hidden_size": hidden_size, "mlp_dim": mlp_dim,
            "num_heads": num_heads, "num_layers": num_layers,
        })  # fmt: skip
        _check_counts(in_channels, num_classes, dropout, attention_dropout)
        self.grid, self.positions = grid_of(image_size, sizes.patch_size), positions
        self.positions_at = positions_at or ("every_layer" if positions == "relative" else "stem")
        check_positions(positions, self.positions_at, sizes.hidden_size, len(self.grid))
        self.extra_tokens = int(class_token) + int(distillation_token)
        width, axes = sizes.hidden_size, len(self.grid)
        self.patch_embed = PatchEmbed(in_channels, width, patch_size=sizes.patch_size, axes=axes)
        self.drop = nn.Dropout(dropout)
        self.blocks = _blocks(sizes, dropout, attention_dropout, norm_eps)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.pos_embed = self._tables(sizes)
        self.head = _head(width, num_classes)
        self.head_dist = _head(width, num_classes) if distillation_token else None
        self.cls_token = _token(width) if class_token else None
        self.dist_token = _token(width) if distillation_token else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify; with a distillation token, the mean of both heads.

        Args:
            image: Shape (B, ``in_channels``, *spatial).

        Returns:
            Logits of shape (B, ``num_classes``), or what the heads read, (B, C), without classes.
        """
        both = self.forward_heads(image)
        return sum(both[1:], both[0]) / len(both)

    def forward_heads(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each head, as distillation trains them: (B, ``num_classes``), one or two."""
        tokens = self.encode(image)
        first = tokens[:, 0] if self.cls_token is not None else self._mean(tokens)
        logits = [self.head(first)]
        if self.head_dist is not None:
            logits.append(self.head_dist(tokens[:, self.extra_tokens - 1]))
        return logits

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """The encoded tokens of the grid at their places, shape (B, C, *grid)."""
        tokens, grid = self._encode(image)
        places: torch.Tensor = tokens[:, self.extra_tokens :].transpose(1, 2)
        return places.reshape(*places.shape[:2], *grid)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """All tokens after the last norm, class and distillation token first; (B, N, C)."""
        return self._encode(image)[0]

    def _encode(self, image: torch.Tensor) -> tuple[torch.Tensor, Grid]:
        patches = self.patch_embed(image)  # (B, C, *grid)
        grid = tuple(patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2)  # (B, N, C)
        for token in (self.dist_token, self.cls_token):
            if token is not None:
                tokens = torch.cat([token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        added, biases = self._places(grid)
        if self.positions_at == "stem":
            tokens, added = _plus(tokens, added[0]), [None] * len(self.blocks)
        tokens = self.drop(tokens)
        for block, place, bias in zip(self.blocks, added, biases, strict=True):
            tokens = block(_plus(tokens, place), bias)
        return self.norm(tokens), grid

    def _places(self, grid: Grid) -> tuple[list[torch.Tensor | None], list[torch.Tensor | None]]:
        """For each block, what is added to its tokens and to the products of its attention."""
        learned: Any = self.pos_embed
        nothing: list[torch.Tensor | None] = [None] * len(self.blocks)
        tables = list(learned) if isinstance(learned, nn.ParameterList) else [learned]
        repeat = len(self.blocks) // len(tables)
        sizes: dict[str, Any] = {"grid": self.grid, "new_grid": grid}
        sizes["extra_tokens"] = self.extra_tokens
        if self.positions == "relative":
            return nothing, [*(relative_bias(table, **sizes) for table in tables)] * repeat
        channels = len(self.norm.weight)
        places = [
            added_positions(self.positions, table, channels=channels, **sizes) for table in tables
        ]
        weight = self.patch_embed.proj.weight  # of what patches become, in type and place
        return [None if p is None else p.to(weight) for p in places] * repeat, nothing

    def _tables(self, sizes: ViTSizes) -> nn.Parameter | nn.ParameterList | None:
        """The learned numbers: one table per layer, one for all, or none."""
        count = sizes.num_layers if self.positions_at == "every_layer" else 1
        tables = [
            position_table(
                self.positions, self.grid, channels=sizes.hidden_size, num_heads=sizes.num_heads,
                extra_tokens=self.extra_tokens,
            )
            for _ in range(count)
        ]  # fmt: skip
        learned = [table for table in tables if table is not None]
        for table in learned:
            nn.init.trunc_normal_(table, std=0.02)
        if not learned:
            return None
        return nn.ParameterList(learned) if self.positions_at == "every_layer" else learned[0]

    def _mean(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, self.extra_tokens :].mean(dim=1)


def pick_sizes(variants: Mapping[str, Any], variant: str, given: Mapping[str, Any]) -> Any:
    """The sizes of ``variant``, with those that are given in their place.

    Raises:
        UsageError: If there is no such variant.
    """
    if variant not in variants:
        raise UsageError(f"variant must be one of {', '.join(variants)}, got {variant!r}")
    return replace(variants[variant], **{n: size for n, size in given.items() if size is not None})


def grid_of(image_size: int | Sequence[int], patch_size: int) -> Grid:
    """Tokens along each axis of an image of two or three sides, padded to whole patches.

    Raises:
        UsageError: If a side is smaller than a patch.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) not in (2, 3) or min(sides) < patch_size:
        raise UsageError(
            f"image_size must be one number or two or three sides of {patch_size} or more, "
            f"got {sides}"
        )
    return tuple(-(-side // patch_size) for side in sides)


def _blocks(
    sizes: ViTSizes, dropout: float, attention_dropout: float, norm_eps: float
) -> nn.ModuleList:
    return nn.ModuleList(
        Block(
            sizes.hidden_size, sizes.num_heads, mlp_dim=sizes.mlp_dim, dropout=dropout,
            attention_dropout=attention_dropout, norm_eps=norm_eps,
        )
        for _ in range(sizes.num_layers)
    )  # fmt: skip


def _token(width: int) -> nn.Parameter:
    token = nn.Parameter(torch.zeros(1, 1, width))
    nn.init.trunc_normal_(token, std=0.02)
    return token


def _head(width: int, num_classes: int) -> nn.Module:
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(width, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def _plus(tokens: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
    return tokens if place is None else tokens + place


def _check_counts(in_channels: int, num_classes: int, *shares: float) -> None:
    if in_channels < 1 or num_classes < 0:
        raise UsageError(
            "in_channels must be 1 or more and num_classes 0 or more, "
            f"got {in_channels} and {num_classes}"
        )
    for share in shares:
        if not 0 <= share < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, got {share}")

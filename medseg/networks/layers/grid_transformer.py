"""A transformer over the places of a feature map, with any of the kinds of attention."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.networks.layers.attention import GridBlock, make_attention
from medseg.networks.layers.checkpointing import run
from medseg.networks.layers.grid import Grid
from medseg.networks.layers.patch_embedding import PatchEmbed
from medseg.networks.layers.positions import added_positions, position_table
from medseg.networks.layers.transformer import EPS

POSITIONS = ("learned_1d", "learned_2d", "sincos", "none")


class GridTransformer(nn.Module):
    """Patches of a feature map become tokens, and the tokens look at each other.

    Its parameters are named as those of :class:`medseg.networks.vit.ViT`; it has no class token.

    Args:
        grid: Tokens along each axis that positions are learned for; other grids are taken too.
        in_channels: Channels of the features.
        hidden_size: Width C of a token, a multiple of ``num_heads``.
        mlp_dim: Width inside the MLPs.
        num_heads: Attention heads.
        num_layers: Blocks.
        attention: One of :data:`medseg.networks.layers.attention.ATTENTIONS`.
        window: Most tokens of a window along each axis; ``None`` for the kind's own.
        patch_size: Side of a patch of the features, or its sides.
        positions: Kind of position embedding added before the first block, of ``POSITIONS``.
        dropout: Share of numbers dropped after the embedding and in the MLPs in training.
        checkpointing: Whether each block computes its activations again in the backward pass.

    Raises:
        UsageError: If a choice does not fit.
    """

    def __init__(  # noqa: PLR0913 - the sizes are one group, as in ViT
        self,
        grid: Sequence[int],
        in_channels: int,
        *,
        hidden_size: int,
        mlp_dim: int,
        num_heads: int,
        num_layers: int,
        attention: str = "dense",
        window: int | Sequence[int] | None = None,
        patch_size: int | Sequence[int] = 1,
        positions: str = "learned_1d",
        dropout: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.grid, axes = tuple(grid), len(grid)
        self.positions, self.checkpointing = positions, checkpointing
        _check_positions(positions, hidden_size, axes)
        self.patch_embed = PatchEmbed(in_channels, hidden_size, patch_size=patch_size, axes=axes)
        self.pos_embed = position_table(
            positions, self.grid, channels=hidden_size, num_heads=num_heads, extra_tokens=0
        )
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            GridBlock(
                make_attention(
                    attention, hidden_size, num_heads, axes=axes, window=window, layer_index=index
                ),
                hidden_size,
                mlp_dim=mlp_dim,
                dropout=dropout,
            )
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size, eps=EPS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Encode; shape (B, ``in_channels``, *spatial) to (B, C, *grid)."""
        patches = self.patch_embed(features)  # (B, C, *grid)
        grid: Grid = tuple(patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2)  # (B, N, C)
        places = added_positions(
            self.positions, self.pos_embed, grid=self.grid, new_grid=grid, extra_tokens=0,
            channels=tokens.shape[2],
        )  # fmt: skip
        tokens = self.drop(tokens if places is None else tokens + places.to(tokens))
        for block in self.blocks:
            tokens = run(block, tokens, grid, again=self.checkpointing)
        out: torch.Tensor = self.norm(tokens)
        return out.transpose(1, 2).reshape(out.shape[0], -1, *grid)


def _check_positions(positions: str, hidden_size: int, axes: int) -> None:
    if positions not in POSITIONS:
        raise UsageError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
    share = {"learned_2d": axes, "sincos": 2 * axes}.get(positions, 1)
    if hidden_size % share:
        raise UsageError(
            f"hidden_size must be a multiple of {share} for positions {positions!r}, "
            f"got {hidden_size}"
        )

"""Self-attention over grids of tokens: dense, or sparse in one of several ways, in 2D and 3D."""

from medseg.networks.layers.attention.block import GridBlock
from medseg.networks.layers.attention.grid_attention import GridAttention
from medseg.networks.layers.attention.kinds import ATTENTIONS, make_attention

__all__ = ["ATTENTIONS", "GridAttention", "GridBlock", "make_attention"]

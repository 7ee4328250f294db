"""Pictures of a network: attention of every layer and head, distances, positions, filters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.errors import UsageError
from medseg.explain.reading import attention_layers, reading_attention
from medseg.explain.skips import ways_of
from medseg.explain.views import (
    attention_distance,
    patch_filters,
    position_similarity,
    token_components,
)
from medseg.explaining.maps import Question
from medseg.explaining.pictures import Backdrop, draw_distances, draw_maps, draw_tiles
from medseg.explaining.placed import Part, PlacedVolume
from medseg.model import LoadedModel
from medseg.report.anatomy import radiological
from medseg.report.overlays import Heads

MOST_TILES = 196  # of position similarity: a grid of up to 14 × 14, each place a picture


def draw_heads(path: Path, behind: Backdrop, heads: Heads, *, ras: int, title: str) -> None:
    """Draw raw attention of every layer, one row each, and head over a slice.

    Args:
        path: PNG to write.
        behind: The slice.
        heads: Attention of it, among others.
        ras: RAS index of the slice.
        title: Over all of them.
    """
    maps = {
        f"layer {layer}, head {head}": heads.picture(ras, layer, head, behind.grey.shape)
        for layer, count in enumerate(heads.counts)
        for head in range(count)
    }
    columns = max(heads.counts)
    draw_maps(path, behind, maps, title=title, columns=columns, plain=False, inches=1.4)


def part_shown(question: Question, scan: PlacedVolume) -> Part:
    """The input of the network that is shown: it holds most of the target."""
    return scan.parts(question.regions, whole=False)[0]


def skips_of(question: Question, model: LoadedModel, scan: PlacedVolume) -> list[dict[str, Any]]:
    """What each skip is worth to the target where most of it is; nothing without skips."""
    part = part_shown(question, scan)
    target = replace(question.target, region=part.region[None])
    try:
        ways = ways_of(model.network, scan.fed([part]), target)
    except UsageError:
        return []
    return [
        {
            "name": way.name,
            "grid": list(way.grid),
            **{name: _plain(getattr(way, name)) for name in ("drop", "share", "alone", "dice")},
        }
        for way in ways
    ]


def _plain(one: torch.Tensor) -> float | None:
    return float(one[0]) if bool(one[0].isfinite()) else None


def draw_network(
    folder: Path, name: str, model: LoadedModel, image: torch.Tensor, *, height: float = 0.5
) -> list[str]:
    """Draw what can be drawn of a transformer; of one for volumes, an axial plane.

    Args:
        folder: Where to.
        name: Of the files, before ``_distance.png`` and so on.
        model: With attention.
        image: What the network is fed, (1, C, *spatial).
        height: Of the plane in the volume, from 0 at the feet to 1.

    Returns:
        The files' names; networks without positions or filters of patches have fewer.
    """
    network = model.network
    layers = [name.replace("blocks.", "") for name in attention_layers(network)]
    draw_distances(
        folder / f"{name}_distance.png", attention_distance(network, image).numpy(), layers
    )
    components = _plane(token_components(network, image)[0], height).numpy()
    tokens = np.stack([radiological(one) for one in components], -1)
    draw_tiles(folder / f"{name}_tokens.png", tokens[None], title="tokens", columns=1, inches=3)
    files = [f"{name}_distance.png", f"{name}_tokens.png"]
    for kind, draw in (("positions", _draw_positions), ("filters", _draw_filters)):
        try:
            draw(folder / f"{name}_{kind}.png", network, image, height)
        except UsageError:  # this network has none
            continue
        files.append(f"{name}_{kind}.png")
    return files


def _plane(found: torch.Tensor, height: float) -> torch.Tensor:
    """The plane at a height of (n, x, y, z), (n, x, y); a plane stays as it is."""
    if found.ndim == 3:
        return found
    return found[..., min(int(height * found.shape[3]), found.shape[3] - 1)]


def _draw_positions(
    path: Path, network: torch.nn.Module, image: torch.Tensor, height: float
) -> None:
    similarity = position_similarity(network, image)
    with torch.no_grad(), reading_attention(network) as reading:
        network(image)
    grid = reading.grid
    of_each = _plane(similarity.reshape(-1, *grid), height)  # (N, x, y)
    tiles = _plane(of_each.permute(1, 2, 0).flatten(0, 1).reshape(-1, *grid), height)
    tiles = tiles.reshape(*grid[:2], *grid[:2]).permute(2, 3, 0, 1)
    step = [max(1, round(size / MOST_TILES**0.5)) for size in grid[:2]]
    tiles = tiles[:: step[0], :: step[1]]
    shown = np.stack([radiological(tile) for tile in tiles.flatten(0, 1).numpy()])
    rows = tiles.shape[:2]
    order = radiological(np.arange(rows[0] * rows[1]).reshape(rows)).flatten()
    draw_tiles(
        path, shown[order], title="cosine similarity of position embeddings", columns=rows[0],
        inches=0.6,
    )  # fmt: skip


def _draw_filters(
    path: Path, network: torch.nn.Module, _image: torch.Tensor, _height: float
) -> None:
    filters = _plane(patch_filters(network).mean(dim=1), 0.5).numpy()
    shown = np.stack([radiological(one) for one in filters])
    draw_tiles(path, shown, title="patch filters, principal components", columns=7, colours="gray")

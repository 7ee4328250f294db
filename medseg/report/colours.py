"""One colour per organ, the same in every figure of a report."""

import colorsys
from collections.abc import Iterable

# Told apart on grey scans, on white and on dark pages; each figure names organs besides.
FIRST = (
    "#e5484d", "#3b82f6", "#2fa84f", "#f08c00", "#a35cf0",
    "#0ea5b7", "#e0559f", "#b39a00", "#9a6b4b", "#5b6ee8",
)  # fmt: skip
GOLDEN = 0.6180339887  # steps of the golden ratio never fall on a hue used before


def organ_colours(organs: Iterable[str]) -> dict[str, str]:
    """Organ → colour as ``#rrggbb``, chosen by place in the list."""
    return {
        organ: FIRST[index] if index < len(FIRST) else _further(index)
        for index, organ in enumerate(organs)
    }


def _further(index: int) -> str:
    rgb = colorsys.hls_to_rgb(index * GOLDEN % 1, (0.5, 0.62, 0.42)[index % 3], 0.65)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)

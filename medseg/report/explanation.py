"""One explanation → one HTML file: slices, all methods side by side, every layer and head."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from medseg.files import write_text
from medseg.report.about import installed, now
from medseg.report.methods import meaning_of
from medseg.report.overlays import Overlays, packed
from medseg.report.render import as_data, render

PAGE_BYTES = 15_000_000  # as of a report
TEXT_BYTES = 300_000  # of it, for all that is neither slices nor views
COLOURS = "inferno"
VIEWS = {
    "distance": (
        "Attention distance",
        "How far each head of each layer looks on average: a dot for each head. Heads that look "
        "near work as convolutions do; heads that look far join what lies apart.",
    ),
    "positions": (
        "Similarity of positions",
        "Each tile is a place, and shows how alike its position embedding is to those of all "
        "others. What the network has learnt of the plane shows as rows, columns or distance.",
    ),
    "filters": (
        "Patch filters",
        "The principal components of the filters that turn patches into tokens, largest first.",
    ),
    "tokens": (
        "Tokens",
        "The encoded tokens of the slice, their first three principal components as red, green and "
        "blue: tokens of like content have like colours.",
    ),
    "skips": (
        "Skip by skip",
        "What the organ's logit loses when the features that come by one way are replaced by "
        "their mean over the image, and what is left of it with that way alone. Ways work "
        "together, so that shares need not add up to 1.",
    ),
}


def write_explanation(
    path: Path, record: Mapping[str, Any], found: Overlays, *, views: Sequence[Path] = ()
) -> None:
    """Write the page of one explanation, whole or not at all.

    It asks the network for nothing, and no path stands in it. Slices become coarser, then fewer,
    until it is below 15 MB, and it says so.

    Args:
        path: The HTML file.
        record: What was asked and how long it took, as ``medseg explain`` keeps it.
        found: The slices with the maps of each method of the record.
        views: PNGs of the network, ``NAME_KIND.png`` with a kind of ``VIEWS``; others are left out.
    """
    pictures = list(_views(views))
    room = PAGE_BYTES - TEXT_BYTES - sum(len(view["png"]) for view in pictures)
    slices, note = packed(found, room)
    rows, columns = found.size
    across, up, _ = found.scan.spacing
    page = {
        "title": _title(record),
        "record": record,
        "facts": _facts(record),
        "request": _request(record),
        "methods": {
            name: (record["methods"][name]["seconds"], *meaning_of(name)) for name in found.maps
        },
        "size": (columns, rows),
        "ratio": columns * across / (rows * up),
        "shown": _nearest(slices, record["shown_slice"]),
        "slices": slices,
        "note": note,
        "scope": "all slices" if found.together else "this slice",
        "window": found.window_note,
        "heads": found.heads,
        "grid": "" if found.heads is None else " × ".join(map(str, found.heads.grid)),
        "data": as_data(_data(found, slices)),
        "views": pictures,
        "scale": [f"rgb({r} {g} {b})" for r, g, b in _colours()[::32]],
        "measured": (path.parent / "compare.html").is_file(),
        "installed": installed(),
        "now": now(),
    }
    write_text(
        path,
        render("explanation.html.j2", page, styles=["explanation.css"], scripts=["explanation.js"]),
    )


def _title(record: Mapping[str, Any]) -> str:
    against = f" rather than {record['against']}" if record["against"] else ""
    return f"What speaks for {record['organ']}{against}: {record['image']}"


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    slices, network = record["slices"], record.get("network")
    which = f"slice {slices[0]} of the file"
    if len(slices) > 1:
        which = f"{len(slices)} slices, from {slices[0]} to {slices[-1]} of the file"
    facts = {"Target": _target(record), "in": which}
    return ({"Network": network} if network else {}) | facts


def _target(record: Mapping[str, Any]) -> str:
    if record["voxel"]:
        return f"voxel {', '.join(map(str, record['voxel']))} of the file"
    if record["region"]:
        return f"where {record['region']} is not 0"
    return f"where the model finds {record['organ']}"


def _request(record: Mapping[str, Any]) -> dict[str, str]:
    """Everything that was asked, options as they were used."""
    asked = {
        "Organ": record["organ"],
        "Against": record["against"] or "no other organ",
        "Target": _target(record),
        "Target in slices": _spans(record["slices"]),
    }
    if record.get("windows"):
        asked["First voxels of windows"] = "; ".join(str(one) for one in record["windows"])
    options = {
        f"Option {name}": str(value)
        for name, value in record["options"].items()
        if value is not None
    }
    return asked | options | {"medseg": record["medseg"]}


def _spans(numbers: Sequence[int]) -> str:
    """Whole numbers in ascending order, runs of them from first to last."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join(" to ".join(map(str, span)) for span in spans)


def _data(found: Overlays, slices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "slices": slices,
        "size": found.size[::-1],
        "colours": base64.b64encode(_colours().tobytes()).decode(),
    }
    if found.heads is not None:
        heads = found.heads
        data["heads"] = {
            "layers": len(heads.layers), "counts": heads.counts, "grid": heads.grid,
            "first": heads.first, "step": heads.step, "area": heads.area,
        }  # fmt: skip
    return data


def _colours() -> np.ndarray:
    """The colour map, (256, 3), uint8."""
    colours: np.ndarray = (255 * colormaps[COLOURS](np.arange(256))[:, :3]).round().astype(np.uint8)
    return colours


def _nearest(slices: Sequence[Mapping[str, Any]], file_index: int) -> int:
    return min(range(len(slices)), key=lambda place: abs(slices[place]["file"] - file_index))


def _views(paths: Sequence[Path]) -> Sequence[dict[str, str]]:
    kinds = {kind: path for path in paths for kind in VIEWS if path.stem.endswith(f"_{kind}")}
    return [
        {
            "name": VIEWS[kind][0],
            "what": VIEWS[kind][1],
            "png": base64.b64encode(path.read_bytes()).decode(),
        }
        for kind, path in kinds.items()
    ]

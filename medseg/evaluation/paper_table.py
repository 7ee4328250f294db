"""Results of several networks, laid out as TransUNet's tables: a row each, organ by organ.

Published figures stand in columns of their own, under their source, and never in ours: they are
of other runs, and their HD95 is in voxels with a missed organ counting as 0.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import UsageError

NOTHING = "–"
SOURCE = "Chen et al. 2021, arXiv:2102.04306"
OURS = ("DSC %", "HD95 mm (pooled)", "missed")


@dataclass(frozen=True)
class Published:
    """What a paper reports of one network.

    Attributes:
        dsc: Mean over the organs, in %.
        hd95: Mean in voxels, ``None`` where the paper gives none.
        organs: Organ → DSC in %, where it is known here.
    """

    dsc: float
    hd95: float | None = None
    organs: Mapping[str, float] = field(default_factory=dict)


PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "synapse": {
        "V-Net": Published(68.81),
        "R50-U-Net": Published(74.68, 36.87),
        "R50-AttnUNet": Published(75.57, 36.97),
        "ViT-None": Published(61.50, 39.61),
        "ViT-CUP": Published(67.86, 36.11),
        "R50-ViT-CUP": Published(71.29, 32.87),
        "TransUNet": Published(
            77.48,
            31.69,
            {
                "aorta": 87.23,
                "gallbladder": 63.13,
                "left kidney": 81.87,
                "right kidney": 77.02,
                "liver": 94.08,
                "pancreas": 55.86,
                "spleen": 85.08,
                "stomach": 75.62,
            },
        ),
    },
    "acdc": {
        name: Published(
            mean, organs={"right ventricle": rv, "myocardium": myo, "left ventricle": lv}
        )
        for name, mean, rv, myo, lv in (
            ("R50-U-Net", 87.55, 87.10, 80.63, 94.92),
            ("R50-AttnUNet", 86.75, 87.58, 79.20, 93.47),
            ("ViT-CUP", 81.45, 81.46, 70.71, 92.18),
            ("R50-ViT-CUP", 87.57, 86.07, 81.88, 94.75),
            ("TransUNet", 89.71, 88.86, 84.53, 95.73),
        )
    },
}
"""Data set → row → figures of its test set; from ``SOURCE``."""


@dataclass(frozen=True)
class Row:
    """One network's results.

    Attributes:
        name: The row's name, such as ``"R50-ViT-CUP"``.
        results: What ``results.json`` holds; ``None`` if it failed.
        parameters: Numbers the network has learned.
        minutes: Minutes of training.
    """

    name: str
    results: Mapping[str, Any] | None
    parameters: int | None = None
    minutes: float | None = None


def row_name(network: Mapping[str, Any]) -> str:
    """The name that the published table has for the network of a config, else its class."""
    kind = str(network["_target_"]).rpartition(".")[2]
    plain = {"R50UNet": "R50-U-Net", "R50AttnUNet": "R50-AttnUNet", "VNet": "V-Net"}
    if kind != "TransUNet":
        return plain.get(kind, kind)
    if not str(network.get("variant", "R50")).startswith("ViT-"):
        return "TransUNet" if network.get("num_skips", 3) else "R50-ViT-CUP"
    return "ViT-None" if network.get("decoder") == "naive" else "ViT-CUP"


def paper_table(
    rows: Sequence[Row], *, published: str | None = None
) -> tuple[list[str], list[list[str]]]:
    """Header and one line per row.

    DSC and HD95 are means over organs of the means over cases; a missed or invented organ counts
    as DSC 0 and as the image diagonal.

    Args:
        rows: In the order of the table.
        published: ``"synapse"`` or ``"acdc"`` adds the published figures in columns after ours.

    Raises:
        UsageError: If nothing is published under that name, or the rows are of different organs.
    """
    if published is not None and published not in PUBLISHED:
        raise UsageError(f"published must be one of {', '.join(PUBLISHED)}, got {published!r}")
    organs = _organs(rows)
    header = ["network", "parameters", "minutes", *OURS, *organs]
    if published is not None:
        header += ["published: DSC %", "published: HD95 voxels"]
        header += [f"published: {organ}" for organ in organs]
    return header, [_cells(row, organs, published) for row in rows]


def to_markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """As a table in Markdown."""
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_csv(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """As comma-separated values; cells without a figure are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell == NOTHING else cell for cell in line] for line in body])
    return text.getvalue()


def to_latex(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """As a LaTeX ``tabular``, for the package booktabs."""
    lines = [" & ".join(map(_escaped, line)) + r" \\" for line in (header, *body)]
    columns = "l" + "r" * (len(header) - 1)
    rules = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*rules, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _organs(rows: Sequence[Row]) -> list[str]:
    named = [list(row.results["labels"]) for row in rows if row.results is not None]
    if any(sorted(organs) != sorted(named[0]) for organs in named):
        raise UsageError("a table needs results of the same organs in every row")
    return named[0] if named else []


def _cells(row: Row, organs: Sequence[str], published: str | None) -> list[str]:
    parameters = NOTHING if row.parameters is None else f"{row.parameters:,}"
    cells = [row.name, parameters, _text(row.minutes, 1)]
    if row.results is None:
        cells += ["failed", NOTHING, NOTHING, *[NOTHING] * len(organs)]
    else:
        summary = row.results["summary"]
        cells += [_percent(summary["mean"]["dsc"]), _text(summary["mean"]["hd95"], 2)]
        cells.append(str(summary["counts"]["missed"]))
        cells += [_percent(summary["organs"][organ]["dsc"]["mean"]) for organ in organs]
    if published is None:
        return cells
    known = PUBLISHED[published].get(row.name)
    if known is None:
        return cells + [NOTHING] * (2 + len(organs))
    figures = [known.dsc, known.hd95, *(known.organs.get(organ) for organ in organs)]
    return cells + [_text(figure, 2) for figure in figures]


def _percent(share: float | None) -> str:
    return _text(None if share is None else 100 * share, 2)


def _text(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _escaped(cell: str) -> str:
    return cell.replace("%", r"\%").replace("_", r"\_").replace(NOTHING, "--")

"""Results on disk → one HTML file that stands alone: no network, everything inlined."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import UsageError
from medseg.files import read_json, write_text
from medseg.jobs import Progress, silent
from medseg.report.about import about
from medseg.report.colours import organ_colours
from medseg.report.comparison import comparison_page, is_comparison, read_comparison
from medseg.report.curves import training_curves
from medseg.report.explained import explanations_of
from medseg.report.figures import HEAD, Figure, figures_of, of_key
from medseg.report.groups import group_tables
from medseg.report.notes import notes_on, programs_of
from medseg.report.pictures import CasePictures, case_pictures
from medseg.report.privacy import known_paths, only_names
from medseg.report.read import Run, find_results, read_results, read_run
from medseg.report.render import as_data, render
from medseg.report.scatter import scatter
from medseg.report.spread import spread
from medseg.report.tables import (
    CaseRow,
    Results,
    case_rows,
    cases_to_look_at,
    organ_rows,
    overall,
)

PAGE_BYTES = 15_000_000  # what a page may take with viewers; it is sent by mail and opened by phone
VIEWERS_BYTES = 10_500_000  # of it for the volumes of all viewers
CELLS = 150_000  # figures per case, organ and metric that a page carries
SPREAD = ("dsc", "hd95")


def report(
    results: str | Path,
    output: str | Path,
    *,
    run: str | Path | None = None,
    title: str | None = None,
    images: bool = True,
    explanations: str | Path | None = None,
    progress: Progress = silent,
) -> Path:
    """Write one HTML file that shows what was measured, on which cases, and how training went.

    No path stands in the page, only names of files, since folders often name people; case ids
    and organs stand in it as they are in the results.

    Args:
        results: ``results.json`` or the folder that holds it, or the ``comparison.json`` of
            several models, whose page shows what differs. The images, labels and predictions
            it names are read for the worst, the median and the best case; one that is gone is
            said to be.
        output: The HTML file to write, whole or not at all.
        run: Run folder of the training, for its curves, config and model card.
        title: Heading of the page.
        images: Whether to show slices, contours and viewers; without, no volume is read and the
            page holds figures alone.
        explanations: Output folder of ``medseg explain``, whose pictures are shown and pages
            linked, case by case and organ by organ.
        progress: Hears of each step.

    Returns:
        The file written.

    Raises:
        InputError: If results, run folder or explanations are missing or damaged.
        UsageError: If ``output`` is a folder, or explanations are given for a comparison.
    """
    output, source = Path(output), find_results(results)
    if output.is_dir():
        raise UsageError(f"{output}: expected an HTML file to write, got a folder")
    if is_comparison(read_json(source)):
        _refuse(explanations)
        return _compare(source, output, title, images, progress)
    content = read_results(source)
    trained = None if run is None else read_run(run)
    figures = figures_of(content)
    rows = case_rows(content, figures)
    explained = explanations and explanations_of(explanations, rows, output, images=images)
    chosen = cases_to_look_at(rows)
    steps, looks = len(chosen) + 1, []
    for done, (heading, row) in enumerate(chosen.items()):
        progress("Writing report", done, steps, row.case_id)
        looks.append(_look(heading, row, content, source, VIEWERS_BYTES // len(chosen) * images))
    page = {
        **about(content, source, trained),
        **_tables(content, figures, rows),
        "looks": looks,
        "shown": {look.row.number for look in looks},
        "images": images,
        "explained": explained,
        "run": trained,
        "curves": _curves(trained, content),
    }
    page["title"] = title or page["title"]
    write_text(output, _within_budget(page))
    progress("Writing report", steps, steps, output.name)
    return output


def _refuse(explanations: str | Path | None) -> None:
    if explanations is not None:
        raise UsageError("explanations go with the results of one model, got a comparison")


def _compare(
    source: Path, output: Path, title: str | None, images: bool, progress: Progress
) -> Path:
    """Write the page of a comparison."""
    progress("Writing report", 0, 1, source.name)
    page = comparison_page(read_comparison(source), source, images=images)
    page["title"] = title or page["title"]
    write_text(output, render("comparison.html.j2", page, viewer=False))
    progress("Writing report", 1, 1, output.name)
    return output


def _look(
    heading: str, row: CaseRow, content: Results, source: Path, viewer_bytes: int
) -> CasePictures:
    """The pictures of one case, or its figures alone where no volume may be read."""
    if not viewer_bytes:
        return CasePictures(heading, row)
    colours, folder = organ_colours(content["labels"]), source.parent
    look = case_pictures(heading, row, content, colours, folder, viewer_bytes=viewer_bytes)
    paths = known_paths(content, source) | {str(folder)}
    look.notices[:] = [only_names(notice, paths) for notice in look.notices]
    return look


def _curves(run: Run | None, content: Results) -> list[Any]:
    return [] if run is None else training_curves(run, organ_colours(content["labels"]))


def _tables(content: Results, figures: list[Figure], rows: list[CaseRow]) -> dict[str, Any]:
    """Everything on the page that is made of figures alone."""
    colours = organ_colours(content["labels"])
    organs = organ_rows(content, colours)
    programs = programs_of(content["summary"])
    dsc, cells = of_key(figures, "dsc"), len(rows) * len(colours) * len(figures)
    return {
        "mean": content["summary"]["mean"],
        "mean_bounds": {
            key: {"ci_low": low, "ci_high": high}
            for key, (low, high) in content["summary"].get("mean_ci", {}).items()
        },
        "groups": group_tables(content, figures),
        "grouping": (content.get("subgroups") or {}).get("column", ""),
        "group_notices": (content.get("subgroups") or {}).get("notices", []),
        "figures": figures,
        "head": [figure for figure in figures if figure.key in HEAD],
        "averaged": [one for one in figures if any(one.key in row.figures for row in organs)],
        "organs": organs,
        "measured": sum(row.figures.get("dsc", {}).get("mean") is not None for row in organs),
        "coverage": overall(organs),
        "cases": rows,
        "detailed": cells <= CELLS,
        "by_organ": len(rows) * len(colours) <= CELLS // 3,
        "heat": _heat(figures if cells <= CELLS else [], rows),
        "colours": colours,
        "spreads": [spread(rows, colours, figure) for figure in figures if figure.key in SPREAD],
        "scatter": None if dsc is None else scatter(rows, colours, dsc),
        "programs": programs,
        "notes": notes_on(figures, programs),
    }


def _heat(figures: Sequence[Figure], rows: Sequence[CaseRow]) -> Any:
    """The figures of every case and organ, for the table whose metric can be chosen."""
    return as_data([
        {
            "key": figure.key,
            "digits": figure.digits,
            "better": figure.better,
            "means": [_short(row.means[figure.key]) for row in rows],
            "values": [
                [_short(entry.get(figure.key)) for entry in row.organs.values()] for row in rows
            ],
        }
        for figure in figures
    ])  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _within_budget(page: Mapping[str, Any]) -> str:
    """The page; without its viewers, and saying so, if it would be too large with them."""
    looks: list[CasePictures] = page["looks"]
    text = render("report.html.j2", page, viewer=any(look.volumes for look in looks))
    if len(text.encode()) <= PAGE_BYTES or not any(look.volumes for look in looks):
        return text
    for look in looks:
        if look.volumes:
            look.volumes.clear()
            look.notices.append("No viewer: with it the page would be larger than 15 MB.")
    return render("report.html.j2", page, viewer=False)

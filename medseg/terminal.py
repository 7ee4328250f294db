"""What the command line shows to people: progress bars and tables, all on stderr."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

SECONDS_PER_LINE = 30
ROWS = 12  # weights named one by one; more are counted by part
COUNTS = ("found", "missed", "extra", "none")
LEGEND = (
    "A missed or invented (extra) organ counts as the worst there is: 0, for distances the image's "
    "diagonal; 'scored' leaves such cases out. 'none': in neither truth nor prediction."
)


class Bars:
    """A progress bar per task, called as :class:`medseg.jobs.Progress`.

    Where stderr is no terminal (a batch job's log), a line every half minute stands in for bars.

    Args:
        shown: Say how far the work is; if not, calls do nothing.
    """

    def __init__(self, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._lines = shown and not console.is_terminal
        self._last_line: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not shown or not console.is_terminal,
        )

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """Move the bar of ``task``, drawing it at the first call."""
        if self._lines:
            self._print_line(task, done, total, note)
        if task not in self._tasks:
            self._tasks[task] = self._progress.add_task(task, total=total, note=note)
        self._progress.update(self._tasks[task], completed=done, total=total, note=note)

    def _print_line(self, task: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if done < total and now - self._last_line.setdefault(task, now) < SECONDS_PER_LINE:
            return
        self._last_line[task] = now
        self._progress.console.print(f"{task}: {done}/{total} {note}".rstrip(), highlight=False)

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def answer(content: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Show what a verb found: as one JSON document on stdout, or to people on stderr."""
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    else:
        show(content)


def say(text: str) -> None:
    """Say something to people."""
    sys.stderr.write(text + "\n")


def show_info(found: Mapping[str, Any]) -> None:
    """Versions, then what is shipped."""
    table = Table("package", "version", title=f"medseg {found['medseg']}", title_justify="left")
    table.add_row("python", found["python"])
    for name, version in found["packages"].items():
        table.add_row(name, version or "not installed")
    console = Console(stderr=True)
    console.print(table)
    console.print(f"Configs (medseg train NAME): {', '.join(found['configs'])}")
    console.print(f"Scripts (medseg copy NAME): {', '.join(found['pipelines'])}")


def show_check(found: Mapping[str, Any], folder: Path) -> None:
    """One row per problem, worst first; files are named as seen from ``folder``."""
    console = Console(stderr=True)
    problems = found["problems"]
    if problems:
        table = Table("severity", "kind", "case", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("what", overflow="fold")
        for problem in problems:
            said = str(problem["message"]).replace(f"{folder}/", "")
            table.add_row(problem["severity"], problem["kind"], problem["case_id"], said)
        console.print(table)
    console.print(_verdict(found))


def show_part(part: Mapping[str, Any]) -> None:
    """That a part is done, and what follows."""
    which = f"Part {part['part_id']} of {part['num_parts']}"
    done = f"{len(part['cases'])} cases scored, {len(part['failures'])} failed"
    say(f"{which} (from 0): {done}; when all parts are done, the same command with --merge")


def show_results(results: Mapping[str, Any]) -> None:
    """The table per organ, narrow enough for 80 columns, and what its columns mean."""
    from medseg.evaluation.table import columns, rows

    _, body = rows(results)
    shown = columns(results["metrics"])
    console = Console(stderr=True)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("organ", no_wrap=True)
    for name in (*(column.short for column in shown), *COUNTS):
        table.add_column(name, justify="right", no_wrap=True)
    for organ, *cells in body:
        figures, (_, *counts) = cells[: len(shown)], cells[len(shown) :]
        table.add_row(organ, *figures, *counts)
    console.print(table)
    for column in shown:
        metric = results["metrics"].get(column.key)
        if metric is not None:
            console.print(f"{metric['name']}: {metric['convention']}", style="dim")
    console.print(LEGEND, style="dim")
    for name, found in results["summary"].get("conventions", {}).items():
        means = ", ".join(f"{key} {_figure(figures['mean'])}" for key, figures in found.items())
        console.print(f"As {name} would print it: {means}")
    if results["without_truth"]:
        console.print(f"Without truth, not scored: {', '.join(results['without_truth'])}")


def _figure(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"


def show_faithfulness(found: Mapping[str, Any], folder: Path) -> None:
    """One row per method of explanation, and which of them do not beat chance."""
    console = Console(stderr=True)
    table = Table("method", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown = ("deletion", "insertion", "pointing", "inside", "survives")
    for name in (*shown, "over random"):
        table.add_column(name, justify="right")
    for method, figures in found["methods"].items():
        over = figures["over_random"]
        table.add_row(
            method,
            *(_figure(figures[name]["mean"])[:5] for name in shown),
            " ".join(("nan" if x is None else f"{x:+.2f}") for x in over.values()),
        )
    console.print(table)
    console.print(
        f"{found['cases']} cases, {', '.join(found['organs'])}. deletion: the lower the better; "
        "insertion, pointing, inside: the higher; survives: rank correlation with the map of a "
        "network of shuffled weights; over random: insertion less deletion, less that of a random "
        "map, with its 95 % interval over cases.",
        style="dim",
    )
    failing = [
        name
        for name, figures in found["methods"].items()
        if not figures["beats_random"] and name != "random"
    ]
    if failing:
        console.print(f"Not better than a random map here: {', '.join(failing)}")
    surviving = [
        name
        for name, figures in found["methods"].items()
        if figures["survives_shuffling"] and name != "random"
    ]
    if surviving:
        console.print(f"Much the same with shuffled weights: {', '.join(surviving)}")
    console.print(f"Curves: {folder / 'curves.png'}", soft_wrap=True)


def show_loaded(report: Mapping[str, Any]) -> None:
    """Which weights were used, changed, left at their initial values or not wanted."""
    console = Console(stderr=True)
    counts = Table("files", "used", "of these resized", "left", "unused", box=SIMPLE_HEAD)
    names = "\n".join(file["name"] for file in report["files"])
    kinds = ("used", "resized", "left", "unused")
    counts.add_row(names, *(str(len(report[kind])) for kind in kinds))
    console.print(counts)
    for title, found in (
        ("Resized", report["resized"]),
        ("Left at initial values", report["left"]),
        ("Unused", dict.fromkeys(report["unused"], "no place here, or filled already")),
    ):
        if found:
            console.print(_grouped(title, found))
    console.print(f"Written: {report['output']}", soft_wrap=True)


def show_costs(found: Mapping[str, Any]) -> None:
    """Parameters by part, FLOPs, memory and allowed sizes of a network."""
    console = Console(stderr=True)
    channels, size = found["input"]["channels"], "×".join(map(str, found["input"]["size"]))
    one = "patch" if len(found["input"]["size"]) == 3 else "slice"
    count, memory, batch = found["parameters"], found["bytes"], found["batch_size"]
    table = Table(found["network"].rpartition(".")[2], "", box=SIMPLE_HEAD, pad_edge=False)
    table.add_row("input", f"{channels} × {size}")
    table.add_row("sizes it takes", _sizes(found["sizes"], size))
    table.add_row("parameters", f"{count['total']:,} ({count['trainable']:,} trainable)")
    for name, number in count["parts"].items():
        table.add_row(f"  {name}", f"{number:,}")
    table.add_row(f"GFLOP per {one}", f"{found['flops'] / 1e9:.2f}")
    for name, label in (
        ("weights", "MB of weights"),
        ("gradients", "MB of gradients"),
        ("optimizer", "MB of optimizer state"),
        ("activations_per_slice", f"MB of activations per further {one}"),
        ("activations", f"MB of activations, batch of {batch}"),
    ):
        if name in memory:
            table.add_row(label, f"{memory[name] / 1e6:,.1f}")
    console.print(table)
    console.print(
        "\n".join(f"{name}: {note}" for name, note in found["notes"].items()), style="dim"
    )


def _sizes(sizes: Mapping[str, Any], given: str) -> str:
    if not sizes["multiple"]:
        return f"only {given} was found"
    step = "any" if sizes["multiple"] == 1 else f"multiples of {sizes['multiple']}"
    return f"{step} from {sizes['least']} on{'' if sizes['unequal'] else ', all sides equal'}"


def _grouped(title: str, found: Mapping[str, str]) -> Table:
    """One row per part of the network and reason, with the number of its weights."""
    rows: dict[tuple[str, str], int] = {}
    for name, why in found.items():
        layer = name if len(found) <= ROWS else re.split(r"[./](?!\S*: )", name, maxsplit=1)[0]
        rows[layer, why] = rows.get((layer, why), 0) + 1
    table = Table(title, "weights", "what", box=SIMPLE_HEAD, pad_edge=False)
    for (layer, why), count in rows.items():
        table.add_row(layer, str(count), why)
    return table


def show_roc(found: Mapping[str, Any], folder: Path) -> None:
    """The true-positive rate under both conventions, and how many pixels it rests on."""
    table = Table("ignored pixels", f"TPR at FPR {found['fpr']:g}", box=SIMPLE_HEAD, pad_edge=False)
    for name, bounds in found["tpr"].items():
        table.add_row(name.removeprefix("ignored_").replace("_", " "), _bounds(bounds))
    console, counts = Console(stderr=True), found["counts"]
    console.print(table)
    pixels = ", ".join(f"{number} {name}" for name, number in counts.items())
    console.print(f"{pixels} pixels; curve in {folder}", soft_wrap=True)


def show_store(found: Mapping[str, Any]) -> None:
    """One line: where, how large, how much was freed."""
    freed = f", {found['freed_bytes'] / 1e9:.2f} GB freed" if found["freed_bytes"] else ""
    size = found["bytes"] / 1e9
    Console(stderr=True).print(f"{found['folder']}: {size:.2f} GB{freed}", soft_wrap=True)


def _bounds(bounds: Mapping[str, float | None]) -> str:
    low, high = bounds["lower"], bounds["upper"]
    if low is None or high is None:
        return "nothing to measure"
    return f"{low:.4f}" if f"{low:.4f}" == f"{high:.4f}" else f"{low:.4f} to {high:.4f}"


def _verdict(found: Mapping[str, Any]) -> str:
    errors = sum(problem["severity"] == "error" for problem in found["problems"])
    rest = len(found["problems"]) - errors
    cases = "1 case" if found["num_cases"] == 1 else f"{found['num_cases']} cases"
    return f"{cases}: {errors} to be mended, {rest} to look at."

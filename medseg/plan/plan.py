"""The function behind ``medseg plan``: a config for a data set and a limit of memory."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import load_config
from medseg.datasets.fingerprint import Fingerprint, fingerprint
from medseg.errors import ResourceError, UsageError
from medseg.files import write_json, write_text
from medseg.jobs import Progress, silent
from medseg.plan.draft import Content, Draft
from medseg.plan.memory import PROCESS, bytes_of, free_bytes, pick, step_flops
from medseg.plan.networks import DEFAULT, NETWORKS
from medseg.plan.said import plain, reasons, to_yaml
from medseg.plan.shapes import Grid, choose_dims, choose_grid
from medseg.plan.source import Organs, open_source
from medseg.plan.trial import Trial, try_step

QUICK_FLOPS = 2e12  # of a step that is tried without being asked for
ROUNDS = 4  # of trying a step and shrinking the input
CLOSER, BOLDEST = 0.98, 0.5  # what is left of the estimate when a trial came out above the limit


def plan(  # noqa: PLR0913 - the verb's options
    data: str | Path,
    output: str | Path | None = None,
    *,
    network: str | None = None,
    dims: str = "auto",
    memory: float | None = None,
    labels: Organs = None,
    dataset: str | None = None,
    device: str = "auto",
    check: bool | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Propose a config from a data set's fingerprint and the memory at hand, with reasons.

    Args:
        data: The data set's folder, in any layout that ``medseg check`` knows as volumes.
        output: YAML file to write, with ``NAME.fingerprint.json`` beside it; ``None``: none.
        network: ``"transunet_3d"``, ``"unet_3d"``, ``"transunet"`` or ``"unet"``; default: a
            TransUNet of the dimensions that suit.
        dims: ``"2"``, ``"3"``, or ``"auto"`` for what suits the volumes.
        memory: GB (10^9 bytes) that training may take, of the machine or the GPU; default: what
            is free, less a tenth.
        labels: Organs to segment: names out of the data set's, or organ → value.
        dataset: The layout, if it is not to be recognised.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        check: Whether two real training steps are made in a process of their own, and the input
            made smaller if they take too much; ``None``: if they are quick.
        overwrite: Replace a file that is there.
        workers: Processes that read cases.
        progress: Hears of every case read and every trial.

    Returns:
        Plain data: ``"config"`` (its path or None), ``"content"``, ``"reasons"`` by key,
        ``"fingerprint"``, ``"network"``, ``"dims"`` with its reason, ``"memory"`` (limit,
        estimate and what was measured, in GB), ``"seconds_per_step"`` and ``"hours"`` of
        training if a step was tried.

    Raises:
        InputError: If the data set is missing, incomplete or damaged.
        ResourceError: If the memory is too little; it says how much would do.
        UsageError: If an option does not fit.
    """
    target = _target(output, overwrite)
    _check_options(network, dims, memory)
    source = open_source(data, labels, dataset)
    found = fingerprint(
        source.train, source.labels, modality=source.modality, workers=workers, progress=progress
    )
    grid = choose_grid(found)
    name, chosen = _network(grid, network, dims)
    kind = pick(device)
    limit = memory * 1e9 if memory else free_bytes(kind)
    draft = Draft(source, found, grid, name, kind, device, limit)
    content, needs, trial = _fitting(draft, check, progress)
    answer = {
        "config": str(target) if target else None,
        "network": draft.network,
        "dims": chosen,
        "memory": _memory(limit, needs, trial),
        **_time(content, trial),
        "fingerprint": found.to_plain(),
        "reasons": reasons(content),
        "content": plain(content),
    }
    if target:
        _write(target, content, answer, found)
    return answer


def _network(grid: Grid, network: str | None, dims: str) -> tuple[str, dict[str, Any]]:
    """The network, and its dimensions with their reason."""
    suited, why = choose_dims(grid)
    wanted = NETWORKS[network] if network else suited if dims == "auto" else int(dims)
    if wanted != suited:
        why = f"that was asked for; {suited}D would suit: {why}"
    return network or DEFAULT[wanted], {"value": wanted, "why": why}


def _memory(limit: float, needs: float, trial: Trial | None) -> dict[str, float | None]:
    return {
        "limit_gb": limit / 1e9,
        "estimate_gb": needs / 1e9,
        "measured_gb": trial.bytes / 1e9 if trial else None,
    }


def _fitting(
    draft: Draft, check: bool | None, progress: Progress
) -> tuple[Content, float, Trial | None]:
    """The config, its estimate and its trial; made smaller until the trial keeps the limit."""
    allowed, fixed = draft.limit, PROCESS[draft.device]
    for turn in range(ROUNDS):
        progress("Fitting into memory", turn, turn + 1, f"{allowed / 1e9:.3g} GB")
        content = draft.within(allowed)
        progress("Fitting into memory", turn + 1, turn + 1)
        needs = bytes_of(content, draft.device)
        if check is False or (check is None and not _quick(content, draft.device)):
            return content, needs, None
        progress("Trying a step", turn, turn + 1, f"about {needs / 1e9:.1f} GB")
        trial = _try(content)
        progress("Trying a step", turn + 1, turn + 1, f"{trial.bytes / 1e9:.1f} GB")
        if trial.bytes <= draft.limit:
            return content, needs, trial
        if needs <= draft.least:
            break
        share = (draft.limit - fixed) / (trial.bytes - fixed)  # 0 where it was killed
        allowed = max(draft.least, fixed + (needs - fixed) * min(CLOSER, max(BOLDEST, share)))
    killed = math.isinf(trial.bytes)
    took = "ran out of memory" if killed else f"took {trial.bytes / 1e9:.1f} GB"
    raise ResourceError(
        f"{draft.network} {took} in a real step with the smallest input tried, "
        f"{draft.limit / 1e9:.3g} GB were allowed; give more with --memory"
    )


def _quick(content: Content, device: str) -> bool:
    return device == "cuda" or step_flops(content) <= QUICK_FLOPS


def _try(content: Content) -> Trial:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planned.yaml"
        write_text(path, to_yaml(plain(content)))
        return try_step(path)


def _time(content: Content, trial: Trial | None) -> dict[str, float | None]:
    if trial is None:
        return {"seconds_per_step": None, "hours": None}
    settings = plain(content)
    steps = settings["settings"]["max_epochs"] * settings["train_loader"]["batches_per_epoch"]
    return {"seconds_per_step": trial.seconds, "hours": trial.seconds * steps / 3600}


def _write(target: Path, content: Content, answer: Mapping[str, Any], found: Fingerprint) -> None:
    memory, dims = answer["memory"], answer["dims"]
    tried = "" if memory["measured_gb"] is None else (
        f", a real step took {memory['measured_gb']:.2f} GB and {answer['seconds_per_step']:.1f} s"
    )  # fmt: skip
    title = (
        f"{answer['network']} for {content['data']}, proposed by `medseg plan`: {dims['value']}D, "
        f"since {dims['why']}.\n"
        f"Memory: {memory['limit_gb']:.3g} GB allowed, {memory['estimate_gb']:.2f} GB estimated"
        f"{tried}.\n  medseg train {target}"
    )
    write_text(target, to_yaml(content, title))
    load_config(target)
    write_json(target.with_suffix(".fingerprint.json"), found.to_plain())


def _target(output: str | Path | None, overwrite: bool) -> Path | None:
    if output is None:
        return None
    target = Path(output)
    if target.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{target}: expected a file that ends in .yaml")
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: there already; --overwrite replaces it")
    return target


def _check_options(network: str | None, dims: str, memory: float | None) -> None:
    if network is not None and network not in NETWORKS:
        raise UsageError(f"network must be one of {', '.join(NETWORKS)}, got {network!r}")
    if dims not in ("auto", "2", "3"):
        raise UsageError(f"dims must be auto, 2 or 3, got {dims!r}")
    if network and dims != "auto" and int(dims) != NETWORKS[network]:
        raise UsageError(f"{network} has {NETWORKS[network]} dimensions, --dims says {dims}")
    if memory is not None and not memory > 0:
        raise UsageError(f"memory must be above 0 GB, got {memory}")

"""What ``medseg explain`` writes once everything is computed: maps, arrays, pictures, a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medseg
from medseg.explaining.maps import Question
from medseg.explaining.patches import PatchScan, windows_of
from medseg.explaining.pictures import Backdrop, axial, backdrop, draw_maps, draw_skips
from medseg.explaining.placed import PlacedVolume
from medseg.explaining.request import Request
from medseg.explaining.views import draw_heads, draw_network, part_shown
from medseg.files import atomic_path, write_json
from medseg.model import LoadedModel
from medseg.report.explanation import write_explanation
from medseg.report.overlays import Heads, overlays
from medseg.volumes import Volume, stem_of, write_volume


@dataclass(frozen=True)
class Explained:
    """Everything that was found out about one request.

    Attributes:
        image: The file.
        volume: What is in it.
        model: Whose network was asked.
        scan: The volume as the network sees it.
        request: What was asked.
        question: Where the target is.
        maps: Method → prepared slice → map.
        seconds: Method → how long it took.
        heads: Raw attention of every layer and head, if it was asked for and there is any.
        skips: What each skip is worth to the target; empty if not asked for, or without skips.
    """

    image: Path
    volume: Volume
    model: LoadedModel
    scan: PlacedVolume
    request: Request
    question: Question
    maps: Mapping[str, Mapping[int, torch.Tensor]]
    seconds: Mapping[str, float]
    heads: Heads | None
    skips: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """What all its files begin with: NAME_ORGAN."""
        return f"{stem_of(self.image) or self.image.name}_{self.request.organ.replace(' ', '_')}"

    @property
    def shown(self) -> int:
        """RAS index of the slice that holds most of the target."""
        return self.scan.ras_slice_of(self.question.largest)


def write_outputs(output: Path, found: Explained, *, page: bool) -> dict[str, Any]:
    """Write everything about one request.

    Args:
        output: Folder.
        found: What is written.
        page: Whether to write ``NAME_ORGAN.html``.

    Returns:
        The record, ``NAME_ORGAN.json``.
    """
    scan, question, record, drawn = found.scan, found.question, _record(found), {}
    region = scan.onto_native({key: one.float() for key, one in question.regions.items()})
    explained = {scan.ras_slice_of(index) for maps in found.maps.values() for index in maps}
    together = isinstance(scan, PatchScan)
    pictures = overlays(found.volume, region, sorted(explained), together=together)
    for method, maps in found.maps.items():
        native = scan.onto_native(maps)
        pictures.add(method, native)
        drawn[method] = axial(native, found.shown)
        files = _write(output, f"{found.name}_{method}", native, maps, question)
        record["methods"][method] = {**files, "seconds": round(found.seconds[method], 3)}
    behind = backdrop(found.volume, region, found.shown)
    record["picture"] = f"{found.name}.png"
    draw_maps(output / record["picture"], behind, drawn, title=_title(found.request, record))
    if found.request.views:
        record["skips"] = found.skips
        record["views"] = _draw_views(output, found, behind)
    (output / f"{found.name}.html").unlink(missing_ok=True)  # it may be of another target
    if page:
        pictures.heads = found.heads
        record["page"] = f"{found.name}.html"
        views = [output / name for name in record.get("views", [])]
        write_explanation(output / record["page"], record, pictures, views=views)
    write_json(output / f"{found.name}.json", record)
    return record


def _draw_views(output: Path, found: Explained, behind: Backdrop) -> list[str]:
    """Draw what there is of heads, transformer and skips; the files' names."""
    files = []
    if found.heads is not None:
        files.append(f"{found.name}_heads.png")
        title = f"{found.request.organ}: raw attention"
        draw_heads(output / files[0], behind, found.heads, ras=found.shown, title=title)
        part = part_shown(found.question, found.scan)
        height = (found.question.largest - part.corner[0] + 0.5) / max(part.region.shape[-1], 1)
        image = found.scan.fed([part])
        files += draw_network(output, found.name, found.model, image, height=height)
    if found.skips:
        files.append(f"{found.name}_skips.png")
        draw_skips(output / files[-1], found.skips, found.request.organ)
    return files


def _record(found: Explained) -> dict[str, Any]:
    request, scan, question = found.request, found.scan, found.question
    options = request.options
    return {
        "medseg": medseg.__version__,
        "network": type(found.model.network).__name__,
        "image": found.image.name,
        "organ": request.organ,
        "against": request.against,
        "voxel": None if request.voxel is None else list(request.voxel),
        "region": None if request.region is None else request.region.name,
        "slices": sorted(scan.file_slice_of(index) for index in question.regions),
        "windows": windows_of(question.parts, scan),
        "shown_slice": scan.file_slice_of(question.largest),
        "options": {name: getattr(options, name) for name in options.__dataclass_fields__},
        "methods": {},
    }


def _write(
    output: Path,
    name: str,
    native: Volume,
    maps: Mapping[int, torch.Tensor],
    question: Question,
) -> dict[str, str]:
    files = {"map": f"{name}.nii.gz", "arrays": f"{name}.npz"}
    write_volume(output / files["map"], native)
    indices = sorted(maps)
    nothing = torch.zeros_like(next(iter(question.regions.values())))
    regions = [question.regions.get(index, nothing).numpy() for index in indices]
    with atomic_path(output / files["arrays"]) as temporary:
        np.savez_compressed(
            temporary,
            maps=np.stack([maps[index].numpy() for index in indices]),
            regions=np.stack(regions),
            prepared_slices=np.array(indices),
        )
    return files


def _title(request: Request, record: Mapping[str, Any]) -> str:
    against = f" rather than {request.against}" if request.against else ""
    where = f", voxel {request.voxel}" if request.voxel else ""
    return f"{request.organ}{against}{where}, slice {record['shown_slice']} of {record['image']}"

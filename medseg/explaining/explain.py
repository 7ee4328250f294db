"""The function behind ``medseg explain``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medseg
from medseg.case import Case
from medseg.explaining.maps import Question, maps_of, question_of
from medseg.explaining.memory import check_memory
from medseg.explaining.patches import scan_of, windows_of
from medseg.explaining.pictures import axial, backdrop, draw_maps
from medseg.explaining.placed import PlacedVolume
from medseg.explaining.request import Request
from medseg.explaining.views import draw_heads, draw_network, part_shown
from medseg.files import atomic_path, write_json
from medseg.inference.inputs import read_image
from medseg.inference.predict import model_folder_of
from medseg.inference.predictor import pick_device
from medseg.jobs import Progress, silent
from medseg.model import read_model
from medseg.volumes import Volume, stem_of, write_volume

RECORD = "explanation.json"


def explain(
    model: str | Path,
    image: str | Path,
    output: str | Path,
    *,
    request: Request,
    device: str = "auto",
    batch_size: int = 4,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write maps of what a model looks at: a picture, a volume and arrays for each method.

    Args:
        model: Model folder, or run folder with one.
        image: Volume file, or folder or zip of one DICOM series.
        output: Folder. ``NAME_ORGAN_METHOD.nii.gz`` is the map on the image's grid, 0 in slices
            that were not explained; ``.npz`` has maps and regions at the network's size;
            ``NAME_ORGAN.png`` shows all methods over the slice with most of the target;
            ``explanation.json`` says what was asked and written.
        request: What is asked.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        batch_size: Slices or windows at once.
        progress: Hears of every batch.

    Returns:
        What is in ``explanation.json``.

    Raises:
        UsageError: If the request does not fit the model or the image.
        InputError: If a file cannot be read.
        ModelError: If there is no model.
        ResourceError: If attention, or a volume, would take more memory than the options allow.
    """
    image, output = Path(image), Path(output)
    loaded, where = read_model(model_folder_of(Path(model))), pick_device(device)
    loaded.network.to(where)
    name = stem_of(image) or image.name
    volume = read_image(Case(case_id=name, image=image))
    scan = scan_of(loaded, volume, where)
    check_memory(loaded, scan, request.methods, request.options.most_bytes)
    question = question_of(request, loaded, scan, batch_size=batch_size)
    name = f"{name}_{request.organ.replace(' ', '_')}"
    record, drawn = _record(request, image, scan, question), {}
    shown = scan.ras_slice_of(question.largest)
    for method in request.methods:
        maps, seconds = maps_of(
            method, question, model=loaded, scan=scan, request=request, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
        native = scan.onto_native(maps)
        drawn[method] = axial(native, shown)
        files = _write(output, f"{name}_{method}", native, maps, question)
        record["methods"][method] = {**files, "seconds": round(seconds, 3)}
    region = scan.onto_native({key: one.float() for key, one in question.regions.items()})
    record["picture"] = f"{name}.png"
    behind = backdrop(volume, region, shown)
    draw_maps(output / record["picture"], behind, drawn, title=_title(request, record))
    if request.views:
        heads = f"{name}_heads.png"
        draw_heads(output / heads, behind, question, model=loaded, scan=scan, request=request)
        part = part_shown(question, scan)
        height = (question.largest - part.corner[0] + 0.5) / max(part.region.shape[-1], 1)
        drawn_too = draw_network(output, name, loaded, scan.fed([part]), height=height)
        record["views"] = [heads, *drawn_too]
    write_json(output / RECORD, record)
    return record


def _record(
    request: Request, image: Path, scan: PlacedVolume, question: Question
) -> dict[str, Any]:
    options = request.options
    return {
        "medseg": medseg.__version__,
        "image": image.name,
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

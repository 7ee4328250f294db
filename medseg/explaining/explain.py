"""The function behind ``medseg explain``."""

from pathlib import Path
from typing import Any

from medseg.case import Case
from medseg.explain.reading import attention_layers
from medseg.explaining.attention import heads_of
from medseg.explaining.maps import maps_of, question_of
from medseg.explaining.memory import check_memory
from medseg.explaining.outputs import Explained, write_outputs
from medseg.explaining.patches import scan_of
from medseg.explaining.request import Request
from medseg.explaining.views import skips_of
from medseg.inference.inputs import read_image
from medseg.inference.predict import model_folder_of
from medseg.inference.predictor import pick_device
from medseg.jobs import Progress, silent
from medseg.model import read_model
from medseg.volumes import stem_of


def explain(
    model: str | Path,
    image: str | Path,
    output: str | Path,
    *,
    request: Request,
    page: bool = True,
    device: str = "auto",
    batch_size: int = 4,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write maps of what a model looks at: a page, a picture, and volume and arrays of each method.

    Nothing is written before everything is computed.

    Args:
        model: Model folder, or run folder with one.
        image: Volume file, or folder or zip of one DICOM series.
        output: Folder. ``NAME_ORGAN_METHOD.nii.gz`` is the map on the image's grid, 0 in slices
            that were not explained; ``.npz`` has maps and regions at the network's size;
            ``NAME_ORGAN.png`` shows all methods over the slice with most of the target,
            ``NAME_ORGAN.html`` over every slice explained, and with the request's ``views`` every
            layer and head; ``NAME_ORGAN.json`` says what was asked and written.
        request: What is asked.
        page: Whether to write the page.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        batch_size: Slices or windows at once.
        progress: Hears of every batch.

    Returns:
        What is in ``NAME_ORGAN.json``.

    Raises:
        UsageError: If the request does not fit the model or the image.
        InputError: If a file cannot be read.
        ModelError: If there is no model.
        ResourceError: If attention, or a volume, would take more memory than the options allow.
    """
    image = Path(image)
    loaded, where = read_model(model_folder_of(Path(model))), pick_device(device)
    loaded.network.to(where)
    volume = read_image(Case(case_id=stem_of(image) or image.name, image=image))
    scan = scan_of(loaded, volume, where)
    check_memory(loaded, scan, request.methods, request.options.most_bytes)
    question = question_of(request, loaded, scan, batch_size=batch_size)
    skips = skips_of(question, loaded, scan) if request.views else []
    heads = None
    if request.views and (attention_layers(loaded.network) or not skips):
        heads = heads_of(question, model=loaded, scan=scan, request=request, batch_size=batch_size)
    maps, seconds = {}, {}
    for method in request.methods:
        maps[method], seconds[method] = maps_of(
            method, question, model=loaded, scan=scan, request=request, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
    found = Explained(image, volume, loaded, scan, request, question, maps, seconds, heads, skips)
    return write_outputs(Path(output), found, page=page)

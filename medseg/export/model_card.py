"""``docs/README.md`` of a bundle: what the model does, how well, and how it is run."""

from medseg.export.chain import Config
from medseg.model import LoadedModel

RUN = "python -m monai.bundle run --config_file"


def model_card(model: LoadedModel, metadata: Config) -> str:
    """The card as Markdown."""
    return "\n".join([
        f"# {metadata['name']}", "",
        f"{metadata['description']}.", "",
        f"Intended use: {metadata['intended_use']}", "",
        "## Input and output", "",
        _formats(model), "",
        "## How well", "",
        _figures(model), "",
        "## Running it", "",
        _commands(metadata), "",
        "## Licence", "",
        "See `LICENSE` for the bundle and `docs/data_license.txt` for the data.", "",
    ])  # fmt: skip


def _formats(model: LoadedModel) -> str:
    spec = model.spec
    shape = " x ".join(map(str, spec.geometry.input_shape[1:]))
    window, spacing = spec.preprocessing.window, spec.preprocessing.spacing
    scale = (
        f"{window[0]:g} to {window[1]:g} HU scaled to 0 to 1"
        if window
        else f"percentiles {spec.preprocessing.percentiles} of the nonzero voxels scaled to 0 to 1"
    )
    grid = "on the grid of the file" if spacing is None else f"resampled to {spacing} mm"
    rows = [f"| {value} | {organ} |" for organ, value in {"background": 0, **spec.labels}.items()]
    return "\n".join([
        f"One volume, turned to RAS, {grid}, {scale}; the network sees {shape} at a time.", "",
        "| value in the label map | organ |", "|---:|---|", *rows,
    ])  # fmt: skip


def _figures(model: LoadedModel) -> str:
    scores = model.provenance.get("val_dsc_per_organ") or {}
    if not scores:
        return "No figures came with the model."
    cases = len(model.provenance.get("val_cases", []))
    rows = [
        f"| {organ} | {'–' if value is None else f'{value:.4f}'} |"
        for organ, value in scores.items()
    ]
    said = f"Mean DSC over the {cases} validation cases, by which the weights were chosen:"
    return "\n".join([said, "", "| organ | DSC |", "|---|---:|", *rows])


def _commands(metadata: Config) -> str:
    needed = metadata["required_packages_version"]
    packages = " ".join(f"{name}=={number}" for name, number in needed.items())
    pair = "\"['configs/train.json','configs/multi_gpu_train.json']\""
    return "\n".join([
        "Images go to `data/images`, labels of the same names to `data/labels`.", "",
        "```bash",
        f"pip install monai=={metadata['monai_version']} {packages}",
        f"{RUN} configs/inference.json",
        f"{RUN} \"['configs/inference.json','configs/evaluate.json']\"",
        f"{RUN} configs/train.json",
        f"torchrun --nproc_per_node=2 -m monai.bundle run --config_file {pair}",
        "```",
    ])  # fmt: skip

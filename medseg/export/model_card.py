"""``docs/README.md`` of a bundle: what the model does, how well, and how it is run."""

from collections.abc import Mapping

from medseg.export.chain import Config
from medseg.model import LoadedModel

RUN = "python -m monai.bundle run --config_file"


def model_card(
    model: LoadedModel, metadata: Config, figures: str, pictures: Mapping[str, str]
) -> str:
    """The card as Markdown.

    Args:
        model: What is exported.
        metadata: Of the bundle.
        figures: How well it does, from :func:`medseg.export.results.said_of`.
        pictures: File name beside the card → caption.
    """
    return "\n".join([
        f"# {metadata['name']}", "",
        f"{metadata['description']}.", "",
        f"Intended use: {metadata['intended_use']}", "",
        "## Input and output", "",
        _formats(model), "",
        "## How well", "",
        figures, "",
        *_shown(pictures),
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


def _shown(pictures: Mapping[str, str]) -> list[str]:
    if not pictures:
        return []
    return [
        "## Pictures",
        "",
        *(f"![{said}]({name})\n\n*{said}.*\n" for name, said in pictures.items()),
    ]


def _commands(metadata: Config) -> str:
    needed = dict(metadata["required_packages_version"])
    ours = needed.pop("medseg", None)
    packages = " ".join(f"{name}=={number}" for name, number in needed.items())
    source = [f"pip install .  # in the source folder of medseg {ours}"] if ours else []
    pair = "\"['configs/train.json','configs/multi_gpu_train.json']\""
    return "\n".join([
        "Images go to `data/images`, labels of the same names to `data/labels`.", "",
        "```bash",
        f"pip install torch=={metadata['pytorch_version']}  # first, the build for the machine",
        f"pip install monai=={metadata['monai_version']} {packages} fire",
        *source,
        f"{RUN} configs/inference.json",
        f"{RUN} \"['configs/inference.json','configs/evaluate.json']\"",
        f"{RUN} configs/train.json",
        f"torchrun --nproc_per_node=2 -m monai.bundle run --config_file {pair}",
        "# the same within a job of SLURM: env -u SLURM_JOB_ID torchrun ...",
        "```",
    ])  # fmt: skip

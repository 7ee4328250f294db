"""The configs of a bundle that use a trained network: ``inference.json`` and ``evaluate.json``."""

from medseg.export.chain import (
    Config,
    back_to_labels,
    inferer,
    intensities,
    loading,
    onto_grid,
    to_classes,
)
from medseg.model import ModelSpec

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"


def paths(*, output: str) -> Config:
    """What every config starts with: imports, folders and the images that are there."""
    return {
        "imports": ["$import glob", "$import os", "$import numpy as np"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": f"$@bundle_root + '/{output}'",
        "images": "$sorted(glob.glob(os.path.join(@dataset_dir, 'images', '*.nii*')))",
        "device": DEVICE,
    }


def inference_config(spec: ModelSpec, channels: int) -> Config:
    """Images of ``dataset_dir``/images to label maps in ``output_dir``.

    Args:
        spec: Of the model.
        channels: Of the network's output.
    """
    return {
        **paths(output="eval"),
        "data": "$[{'image': image} for image in @images]",
        "network_def": dict(spec.network),
        "network": "$@network_def.to(@device)",
        "preprocessing": _compose([*loading(), intensities(spec), *onto_grid(spec, ["image"])]),
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
            "num_workers": 0,
        },
        "inferer": inferer(spec),
        "postprocessing": _compose([*back_to_labels(spec, channels), _save(spec)]),
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
            "map_location": "@device",
        },
        "handlers": ["@checkpointloader", {"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def evaluate_config(spec: ModelSpec, channels: int) -> Config:
    """What ``inference.json`` becomes where there are labels: the DSC of every organ.

    Labels lie in ``dataset_dir``/labels under the names of the images and hold the values of the
    model's own label maps.
    """
    count = len(spec.labels) + 1
    one_hot = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "to_onehot": count}
    return {
        "labels": "$sorted(glob.glob(os.path.join(@dataset_dir, 'labels', '*.nii*')))",
        "data": "$[{'image': i, 'label': l} for i, l in zip(@images, @labels, strict=True)]",
        "preprocessing": _compose([
            *loading(), *loading("label"), to_classes(spec, "label"), intensities(spec),
            *onto_grid(spec, ["image"]),
        ]),
        "postprocessing": _compose([
            *back_to_labels(spec, channels), to_classes(spec, "pred"), one_hot,
        ]),
        "key_metric": {"mean_dice": {
            "_target_": "MeanDice", "include_background": False,
            "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
        }},
        "handlers": [
            "@checkpointloader",
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": ["mean_dice"],
                "metric_details": ["mean_dice"], "summary_ops": "*",
                "batch_transform": "$lambda x: [xx['image'].meta for xx in x]",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "key_val_metric": "@key_metric",
            "val_handlers": "@handlers",
            "amp": False,
        },
    }  # fmt: skip


def _compose(transforms: list[Config]) -> Config:
    return {"_target_": "Compose", "transforms": transforms}


def _save(spec: ModelSpec) -> Config:
    small = max(spec.labels.values()) < 256
    return {
        "_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
        "output_postfix": "seg", "output_ext": ".nii.gz", "separate_folder": False,
        "resample": False, "output_dtype": "$np.uint8" if small else "$np.uint16",
    }  # fmt: skip

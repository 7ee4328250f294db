"""Bundles in the manner of the model zoo, with small networks and weights made up."""

import json

import nibabel as nib
import numpy as np
import torch
import yaml
from monai.networks.nets import SegResNet, UNet

UNET = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    "num_res_units": 1, "norm": "batch",
}  # fmt: skip
SEGRESNET = {
    "spatial_dims": 3, "init_filters": 8, "in_channels": 1, "out_channels": 4,
    "blocks_down": [1, 1], "blocks_up": [1], "dropout_prob": 0.2,
}  # fmt: skip


def _engine(key):
    """What every bundle of the zoo has and a prediction of ours has no use for."""
    return {
        "dataset": {
            "_target_": "Dataset", "data": f"$[{{'{key}': i}} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
            "num_workers": 0,
        },
        "handlers": [{
            "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        }, {"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device",
            "val_data_loader": "@dataloader", "network": "@network", "inferer": "@inferer",
            "postprocessing": "@postprocessing", "val_handlers": "@handlers", "amp": True,
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def spleen():
    """U-Net, argmax of an inverted softmax; values by reference; files found by glob."""
    return {
        "imports": ["$import glob", "$import numpy", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "output_dtype": "$numpy.float32",
        "dataset_dir": "/data/Task09_Spleen",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "UNet", **UNET},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "@image_key"},
            {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
            {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [1.5, 1.5, 2.0],
             "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "@image_key", "a_min": -57, "a_max": 164,
             "b_min": 0, "b_max": 1, "clip": True},
            {"_target_": "EnsureTyped", "keys": "@image_key"},
        ]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16],
                    "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
             "orig_keys": "@image_key", "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
             "output_postfix": "trans", "output_dtype": "@output_dtype"},
        ]},
        **_engine("image"),
    }  # fmt: skip


def abdomen():
    """SegResNet by full path, a macro, arithmetic, values mapped, labels inverted."""
    return {
        "imports": ["$import os", "$import monai"],
        "bundle_root": ".",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "dataset_dir": "/data/btcv",
        "data_list_file_path": "$@dataset_dir + '/dataset_0.json'",
        "datalist": "$monai.data.load_decathlon_datalist(@data_list_file_path, "
                    "data_list_key='testing')",
        "val_interval": 5,
        "half": 16,
        "roi": ["$@half * 2 // 2", "@half", "$int(@half / 1) if not @amp else @half"],
        "amp": False,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "monai.networks.nets.SegResNet", **SEGRESNET},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "monai.transforms.LoadImaged", "keys": ["image"],
             "ensure_channel_first": True},
            {"_target_": "Orientationd", "keys": ["image"], "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": ["image"], "pixdim": ["$float(2)", 2.0, 2.0],
             "mode": ["bilinear"]},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            {"_target_": "RandFlipd", "keys": "image", "prob": 0.5, "_disabled_": True},
            {"_target_": "EnsureTyped", "keys": ["image"], "dtype": "$torch.float32",
             "device": "@device"},
        ]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "%roi", "sw_batch_size": 2,
                    "overlap": "$1 / 4", "mode": "gaussian", "device": "@device"},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "MapLabelValued", "keys": "pred", "orig_labels": [1, 2, 3],
             "target_labels": [1, 6, 7]},
            {"_target_": "FillHolesd", "keys": "pred", "applied_labels": [6]},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
             "orig_keys": "image", "nearest_interp": True, "to_tensor": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ]},
        **_engine("image"),
    }  # fmt: skip


ORGANS = {"spleen": ["background", "spleen"], "abdomen": ["background", "liver", "aorta", "vein"]}
CONFIGS = {"spleen": spleen, "abdomen": abdomen}


def write(folder, name="spleen", config=None):
    """Write a bundle; ``abdomen`` has its config in YAML."""
    torch.manual_seed(3)
    network = UNet(**UNET) if name == "spleen" else SegResNet(**SEGRESNET)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    content = config or CONFIGS[name]()
    if name == "abdomen":
        (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    else:
        write_config(folder, content)
    channels = {str(index): organ for index, organ in enumerate(ORGANS[name])}
    outputs = {"pred": {"channel_def": channels}}
    metadata = {"network_data_format": {"inputs": {}, "outputs": outputs}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def write_config(folder, content):
    """Replace the config of a bundle."""
    (folder / "configs" / "inference.json").write_text(json.dumps(content, indent=4))


def write_images(folder):
    """Two images: one of the file's own axes turned, one in RAS."""
    folder.mkdir()
    affines = {
        "lps": np.array([[-1.4, 0, 0, 40], [0, -1.4, 0, 30], [0, 0, 3, -20], [0, 0, 0, 1.0]]),
        "pir": np.array([[0, 0, 2.2, -30], [-1.2, 0, 0, 10], [0, -2.5, 0, 8], [0, 0, 0, 1.0]]),
    }
    for number, (name, affine) in enumerate(affines.items()):
        rng = np.random.default_rng(number)
        array = rng.integers(-150, 250, (26, 22, 18)).astype(np.int16)
        array[6:16, 5:15, 4:12] += 150
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return folder

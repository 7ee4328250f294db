"""The configs of a bundle that train its network further: on one process, or several."""

from medseg.export.chain import Config, inferer, intensities, loading, onto_grid, to_classes
from medseg.export.inference_config import paths
from medseg.inference.card import InferenceCard
from medseg.loading.geometry import SliceGeometry
from medseg.model import ModelSpec

PER_VOLUME = 4  # slices or patches that are drawn from a volume at a time
PAIR = ["image", "label"]


def train_config(spec: ModelSpec, channels: int) -> Config:
    """Training from the bundle's weights on ``dataset_dir``/images and /labels.

    Args:
        spec: Of the model.
        channels: Of the network's output.
    """
    return {
        **paths(output="train"),
        "labels": "$sorted(glob.glob(os.path.join(@dataset_dir, 'labels', '*.nii*')))",
        "data": "$[{'image': i, 'label': l} for i, l in zip(@images, @labels, strict=True)]",
        "val_count": "$max(1, len(@data) // 5)",
        "ckpt_dir": "$@bundle_root + '/models'",
        "epochs": 50,
        "val_interval": 1,
        "learning_rate": 1e-4,
        "batch_size": 1,
        "network_def": dict(spec.network),
        "network": "$@network_def.to(@device)",
        "loss": _loss(spec, channels),
        "optimizer": {
            "_target_": "torch.optim.AdamW", "params": "$@network.parameters()",
            "lr": "@learning_rate", "weight_decay": 1e-4,
        },
        "train": _train(spec),
        "validate": _validate(spec, channels),
        "initialize": ["$monai.utils.set_determinism(seed=0)"],
        "run": ["$@train#trainer.run()"],
    }  # fmt: skip


def multi_gpu_config() -> Config:
    """What ``train.json`` becomes under torchrun: on GPUs with NCCL, on CPUs with gloo."""
    cuda = "torch.cuda.is_available()"
    return {
        "val_count": "$max(int(os.environ['WORLD_SIZE']), len(@data) // 5)",
        "device": f"$torch.device('cuda:' + os.environ['LOCAL_RANK'] if {cuda} else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": f"$[@device] if {cuda} else None",
            "find_unused_parameters": True,
        },
        "train#sampler": {
            "_target_": "DistributedSampler", "dataset": "@train#dataset",
            "even_divisible": True, "shuffle": True,
        },
        "train#dataloader#sampler": "@train#sampler",
        "train#dataloader#shuffle": False,
        "train#trainer#train_handlers":
            "$@train#handlers[: -2 if torch.distributed.get_rank() > 0 else None]",
        "validate#sampler": {
            "_target_": "DistributedSampler", "dataset": "@validate#dataset",
            "even_divisible": False, "shuffle": False,
        },
        "validate#dataloader#sampler": "@validate#sampler",
        "validate#evaluator#val_handlers":
            "$@validate#handlers if torch.distributed.get_rank() == 0 else None",
        "initialize": [
            f"$torch.distributed.init_process_group('nccl' if {cuda} else 'gloo')",
            f"$torch.cuda.set_device(@device) if {cuda} else None",
            "$monai.utils.set_determinism(seed=0)",
        ],
        "run": ["$@train#trainer.run()"],
        "finalize": ["$torch.distributed.destroy_process_group()"],
    }  # fmt: skip


def _loss(spec: ModelSpec, channels: int) -> Config:
    ours = str(spec.network["_target_"]).startswith("medseg.")
    if InferenceCard.read(spec).activation == "sigmoid" and ours:
        loss: Config = {"_target_": "medseg.inference.bundle_transforms.BCEDice"}
    elif channels == 1:
        loss = {"_target_": "DiceCELoss", "sigmoid": True, "batch": True}
    else:
        loss = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True, "batch": True}
    if ours and spec.network.get("deep_supervision"):  # then train() gives logits of every size
        return {"_target_": "DeepSupervisionLoss", "loss": loss}
    return loss


def _train(spec: ModelSpec) -> Config:
    return {
        "dataset_data": "$@data[: -@val_count] or @data",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [*_prepared(spec), *_drawn(spec), *_varied()],
        },
        "dataset": {
            "_target_": "Dataset", "data": "@train#dataset_data",
            "transform": "@train#preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": "@batch_size",
            "shuffle": True, "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network_def"},
                "map_location": "@device",
            },
            {
                "_target_": "ValidationHandler", "validator": "@validate#evaluator",
                "epoch_level": True, "interval": "@val_interval",
            },
            {
                "_target_": "StatsHandler", "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
            },
            {
                "_target_": "CheckpointSaver", "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network_def"}, "save_final": True,
                "final_filename": "model_last.pt",
            },
        ],
        "trainer": {
            "_target_": "SupervisedTrainer", "max_epochs": "@epochs", "device": "@device",
            "train_data_loader": "@train#dataloader", "network": "@network",
            "loss_function": "@loss", "optimizer": "@optimizer", "inferer": "@train#inferer",
            "train_handlers": "@train#handlers", "amp": False,
        },
    }  # fmt: skip


def _validate(spec: ModelSpec, channels: int) -> Config:
    classes = len(spec.labels) + 1
    found = {"threshold": 0.0} if channels == 1 else {"argmax": True}
    return {
        "dataset_data": "$@data[-@val_count :]",
        "preprocessing": {"_target_": "Compose", "transforms": _prepared(spec)},
        "dataset": {
            "_target_": "Dataset", "data": "@validate#dataset_data",
            "transform": "@validate#preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1,
            "shuffle": False, "num_workers": 0,
        },
        "inferer": inferer(spec),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", **found, "to_onehot": classes},
                {"_target_": "AsDiscreted", "keys": "label", "to_onehot": classes},
            ],
        },
        "key_metric": {"val_mean_dice": {
            "_target_": "MeanDice", "include_background": False,
            "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
        }},
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "CheckpointSaver", "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network_def"}, "save_key_metric": True,
                "key_metric_filename": "model_best.pt",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device",
            "val_data_loader": "@validate#dataloader", "network": "@network",
            "inferer": "@validate#inferer", "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric", "val_handlers": "@validate#handlers",
            "amp": False,
        },
    }  # fmt: skip


def _prepared(spec: ModelSpec) -> list[Config]:
    return [
        *loading(), *loading("label"), to_classes(spec, "label"), intensities(spec),
        *onto_grid(spec, PAIR),
    ]  # fmt: skip


def _drawn(spec: ModelSpec) -> list[Config]:
    """A few slices or patches of a volume, half of them on an organ."""
    slices = isinstance(spec.geometry, SliceGeometry)
    size = [*spec.geometry.input_shape[1:], 1] if slices else list(spec.geometry.input_shape[1:])
    crop: Config = {
        "_target_": "RandCropByPosNegLabeld", "keys": PAIR, "label_key": "label",
        "spatial_size": size, "pos": 1, "neg": 1, "num_samples": PER_VOLUME,
    }  # fmt: skip
    return [crop, {"_target_": "SqueezeDimd", "keys": PAIR, "dim": -1}] if slices else [crop]


def _varied() -> list[Config]:
    return [
        {"_target_": "RandScaleIntensityd", "keys": "image", "factors": 0.1, "prob": 0.5},
        {"_target_": "RandShiftIntensityd", "keys": "image", "offsets": 0.1, "prob": 0.5},
    ]

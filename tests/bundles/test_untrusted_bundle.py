"""A bundle made to do harm, and a damaged one, run nothing and end with exit code 6."""

import builtins
import json
import os
import pickle
import subprocess
import zipfile

import pytest
import torch

from medseg import cli
from medseg.errors import ModelError
from medseg.inference.predict import PredictSettings, predict
from tests.bundles.zoo_bundles import spleen, write, write_config, write_images

CODE = "$__import__('os').system('touch {mark}')"


class Harm:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def at(path, value):
    """Put a value into the config at a path of keys; ``{mark}`` in it is the file of harm."""

    def change(bundle, mark):
        config = spleen()
        *before, last = path
        inner = config
        for key in before:
            inner = inner[key]
        filled = json.loads(json.dumps(value).replace("{mark}", str(mark)))
        if isinstance(inner, list) and last == len(inner):
            inner.append(filled)
        else:
            inner[last] = filled
        write_config(bundle, config)

    return change


def transform(target, **arguments):
    return at(("preprocessing", "transforms", 6), {"_target_": target, "keys": "image"} | arguments)


def weights(save):
    return lambda bundle, mark: save(bundle / "models" / "model.pt", mark)


def metadata(**channels):
    def change(bundle, _mark):
        said = {"network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}
        (bundle / "configs" / "metadata.json").write_text(json.dumps(said))

    return change


def _packed(path, _mark):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * (64 << 20))


def _linked(path, _mark):
    path.rename(path.parents[2] / "elsewhere.pt")
    path.symlink_to(path.parents[2] / "elsewhere.pt")


def _folded(bundle, _mark):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    (bundle / "configs" / "inference.json").unlink()
    (bundle / "configs" / "inference.yaml").write_text("\n".join(lines))


def _yaml_object(bundle, mark):
    (bundle / "configs" / "inference.json").unlink()
    text = f"network_def: !!python/object/apply:os.system ['touch {mark}']"
    (bundle / "configs" / "inference.yaml").write_text(text)


def _doubled(bundle, _mark):
    config = spleen() | {"x0": [1, 1]}
    config |= {f"x{level}": [f"@x{level - 1}"] * 9 for level in range(1, 15)}
    config["inferer"]["mode"] = "@x14"
    write_config(bundle, config)


NETWORK = ("network_def", "norm")
HARM = {
    "expression in a transform": at(("preprocessing", "transforms", 3, "pixdim"), CODE),
    "expression deep in arguments": at(("postprocessing", "transforms", 2, "argmax"), [[CODE]]),
    "expression in the network": at(NETWORK, ["batch", {"eps": CODE}]),
    "expression behind a reference": at(("image_key",), CODE),
    "expression that is never run": at(("run", 1), CODE),
    "import that is never run": at(("imports", 0), "$import subprocess"),
    "expression at the start": at(("initialize", 0), CODE),
    "expression as a whole chain": at(("preprocessing",), CODE),
    "expression that lists files": at(("inferer", "overlap"), "$len(glob.glob('/*'))"),
    "attribute of a class": at(("inferer", "overlap"), "$().__class__.__base__.__subclasses__()"),
    "attribute of a reference": at(("inferer", "overlap"), "$@preprocessing.__init__"),
    "comprehension": at(("inferer", "overlap"), "$[x for x in (1, 2)][0]"),
    "lambda": at(("inferer", "overlap"), "$(lambda: 0.5)()"),
    "named reference": at(("inferer", "overlap"), "$_ref_0_"),
    "power without end": at(("inferer", "overlap"), "$9 ** 9 ** 9 ** 9"),
    "text without end": at(("inferer", "mode"), "$'x' * 10 ** 12"),
    "list without end": at(("inferer", "roi_size"), "$[1] * 10000000000"),
    "range without end": at(("inferer", "roi_size"), "$list(range(1000000000000))"),
    "number without end": at(("inferer", "overlap"), "$int('9' + '9' * 2)"),
    "format": at(("inferer", "mode"), "$'{{0.__class__}}'.format(1)"),
    "os.system": transform("os.system", command="touch {mark}"),
    "subprocess.Popen": transform("subprocess.Popen", args="touch {mark}"),
    "builtins.eval": transform("builtins.eval", source="1"),
    "eval": transform("eval", source="1"),
    "Lambdad": transform("monai.transforms.Lambdad", func=CODE),
    "Lambdad by short name": transform("Lambdad", func="$print"),
    "transform from elsewhere": transform("harm.LoadImaged"),
    "climbing target": transform("monai.transforms...os.system"),
    "expression as target": transform("$os.system"),
    "unknown transform": transform("RandCoarseDropoutd"),
    "component in an argument": transform("EnsureTyped", dtype={"_target_": "os.system"}),
    "callable by component": transform("CropForegroundd", select_fn={"_target_": "UNet"}),
    "_requires_": transform("EnsureTyped", _requires_=CODE),
    "_mode_": transform("EnsureTyped", _mode_="debug"),
    "_disabled_": transform("EnsureTyped", _disabled_=CODE),
    "evil that is never built": at(("evaluator", "_target_"), "os.system"),
    "network elsewhere": at(("network_def", "_target_"), "subprocess.Popen"),
    "network by a climbing path": at(("network_def", "_target_"), "torch.nn.functional.os.system"),
    "network with a path": at(NETWORK, "/etc/passwd"),
    "inferer elsewhere": at(("inferer", "_target_"), "os.system"),
    "expression as id": at((CODE,), 1),
    "macro on a file": at(NETWORK, "%../../etc/passwd"),
    "macro on a file's id": at(("inferer", "mode"), "%other.json::mode"),
    "macro on nothing": at(("inferer", "mode"), "%nothing"),
    "reference to nothing": at(("inferer", "mode"), "@nothing"),
    "reference to itself": at(("inferer", "mode"), "@inferer::mode"),
    "relative reference": at(("inferer", "mode"), "@##nothing"),
    "absurd patch": at(("inferer", "roi_size"), [100_000] * 3),
    "absurd digits": at(("inferer", "roi_size"), [10**400] * 3),
    "list of lists of lists": at(("inferer", "cval"), "$[[[[1] * 900] * 900] * 900] * 900"),
    "text of lists of lists": at(("inferer", "mode"), "$str([[[[1] * 900] * 900] * 900] * 900)"),
    "lists by references": _doubled,
    "absurd padding": transform("SpatialPadd", spatial_size=[4000] * 3),
    "absurd spacing": at(("preprocessing", "transforms", 3, "pixdim"), [1e-9] * 3),
    "absurd network": at(("network_def", "channels"), [10**6, 10**6]),
    "organ that is a path": metadata(**{"0": "background", "1": "../../etc/passwd"}),
    "organ that is code": metadata(**{"0": "background", "1": CODE}),
    "pickled weights": weights(lambda p, m: p.write_bytes(pickle.dumps({"w": Harm(m)}))),
    "PyTorch's pickle": weights(lambda p, m: torch.save({"w": Harm(m)}, p)),
    "packed weights": weights(_packed),
    "linked weights": weights(_linked),
    "folded YAML": _folded,
    "YAML with an object": _yaml_object,
}  # fmt: skip


def remove(*path):
    def change(bundle, _mark):
        config = spleen()
        inner = config
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        write_config(bundle, config)

    return change


def _truncated(path, _mark):
    path.write_bytes(path.read_bytes()[:-2000])


DAMAGE = {
    "truncated weights": weights(_truncated),
    "empty weights": weights(lambda p, _: p.write_bytes(b"")),
    "no weights": weights(lambda p, _: p.unlink()),
    "weights of another network": weights(lambda p, _: torch.save({"w": torch.zeros(1)}, p)),
    "weights that are a tensor": weights(lambda p, _: torch.save(torch.zeros(1), p)),
    "no network": remove("network_def"),
    "no preprocessing": remove("preprocessing"),
    "no inferer": remove("inferer"),
    "no postprocessing": remove("postprocessing"),
    "no label map": remove("postprocessing", "transforms", 2),
    "no target": remove("network_def", "_target_"),
    "no argument": remove("network_def", "channels"),
    "no image": remove("preprocessing", "transforms", 0),
    "chain that is text": at(("preprocessing",), "Compose"),
    "wrong JSON": lambda b, _: (b / "configs" / "inference.json").write_text('{"network_def": '),
    "no mapping": lambda b, _: (b / "configs" / "inference.json").write_text("[]"),
    "deep JSON": lambda b, _: (b / "configs" / "inference.json").write_text("[" * 200_000),
    "no text": lambda b, _: (b / "configs" / "inference.json").write_bytes(b"\xff\xfe\x00"),
    "no config": lambda b, _: (b / "configs" / "inference.json").unlink(),
    "no metadata": lambda b, _: (b / "configs" / "metadata.json").unlink(),
    "no organs": metadata(),
    "organs of two kinds": metadata(**{"0": "background", "1": "liver", "x": "spleen"}),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.mark.parametrize("harm", HARM)
def test_a_bundle_made_to_do_harm_is_refused_and_runs_nothing(harm, images, tmp_path, monkeypatch):
    bundle, mark = write(tmp_path / "bundle"), tmp_path / "mark"
    HARM[harm](bundle, mark)
    called = []
    monkeypatch.setattr(os, "system", called.append)
    monkeypatch.setattr(subprocess, "Popen", called.append)
    monkeypatch.setattr(builtins, "eval", called.append)
    with pytest.raises(ModelError) as refused:
        predict(images, tmp_path / "out", model=bundle)
    assert "\n" not in str(refused.value)
    assert not called
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bundle_is_refused_with_six_and_one_line(damage, images, tmp_path, capsys):
    bundle = write(tmp_path / "bundle")
    DAMAGE[damage](bundle, None)
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert cli.run([*command, "--no-progress"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("medseg: ")
    assert str(bundle) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_refused_is_named_with_its_place_and_the_way_out(images, tmp_path, capsys):
    bundle = write(tmp_path / "bundle")
    HARM["Lambdad by short name"](bundle, tmp_path / "mark")
    command = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    assert cli.run([*command, "--no-progress"]) == 6
    said = capsys.readouterr().err
    assert "preprocessing::transforms::6" in said
    assert "Lambdad" in said
    assert "--trust" in said


def test_trust_is_for_what_is_not_allowed_and_not_for_damage(images, tmp_path):
    bundle = write(tmp_path / "bundle")
    DAMAGE["truncated weights"](bundle, None)
    with pytest.raises(ModelError, match=r"model\.pt"):
        predict(images, tmp_path / "out", model=bundle, settings=PredictSettings(trust=True))


def test_python_files_of_a_bundle_are_not_imported(images, tmp_path):
    bundle, mark = write(tmp_path / "bundle"), tmp_path / "mark"
    for folder in (bundle, bundle / "scripts"):
        folder.mkdir(exist_ok=True)
        for name in ("__init__", "glob", "monai", "numpy"):
            (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    predict(images, tmp_path / "out", model=bundle)
    assert not mark.exists()

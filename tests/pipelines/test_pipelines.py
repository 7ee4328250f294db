"""Scripts and verbs make the same calls: held against each other on a tiny phantom."""

import shutil

import pytest
from safetensors.torch import load_file

from medseg import cli
from medseg.case import read_cases, write_cases
from medseg.datasets import phantom
from medseg.files import read_json
from medseg.volumes import read_volume
from pipelines import check, evaluate, explain, predict, report, train

TINY = [
    "image_size=[32,32]",
    "network::hidden_size=24",
    "network::num_layers=1",
    "network::width_factor=0.125",
    "network::decoder_channels=[16,16,8,8,8]",
    "train_loader::batch_size=2",
    "train_loader::batches_per_epoch=3",
    "settings::max_epochs=1",
    "settings::device=cpu",
    "settings::precision=float32",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    phantom.write(folder / "data", counts={"train": 2, "val": 1, "test": 2}, size=(32, 32, 12))
    write_cases(folder / "test.json", phantom.cases(folder / "data", split="test"))
    return folder


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """One training by script and one by verb."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEG_STORE", str(place / "store"))
        changes = [*TINY, f"data={place / 'data'}"]
        script, verb = place / "script", place / "verb"
        train.main(["phantom_transunet", *changes, f"out_dir={script}"])
        arguments = ["train", "phantom_transunet", *changes, f"out_dir={verb}", "--no-progress"]
        assert cli.run(arguments) == 0
    return script, verb


def test_script_and_verb_train_identical_weights(runs):
    script, verb = (load_file(run / "model" / "weights.safetensors") for run in runs)
    assert script.keys() == verb.keys()
    for name, tensor in script.items():
        assert tensor.equal(verb[name]), name


def test_a_run_folder_holds_what_is_promised(runs):
    _, run = runs
    names = {path.name for path in run.iterdir()}
    promised = {"config.yaml", "model", "checkpoints", "history.csv", "figures", "tensorboard"}
    assert promised <= names
    listed = read_cases(run / "cases" / "test.json")
    assert [case.case_id for case in listed] == ["phantom_test_0000", "phantom_test_0001"]
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert drawn == {"loss_per_iteration.png", "loss_train_val.png", "dsc_per_organ.png"}
    card = read_json(run / "model" / "model.json")
    assert card["network"]["_target_"] == "medseg.networks.transunet.TransUNet"
    assert card["network"]["image_size"] == [32, 32]
    assert card["labels"] == phantom.LABELS
    trained_on = card["provenance"]["train_cases"]
    assert trained_on == ["phantom_train_0000", "phantom_train_0001"]


def test_script_and_verb_predict_the_same_voxels_on_the_grid_of_the_input(place, runs):
    cases = place / "test.json"
    predict.main([str(cases), str(place / "by_script"), str(runs[0])])
    command = ["predict", "-i", str(cases), "-o", str(place / "by_verb"), "-m", str(runs[1])]
    assert cli.run([*command, "--no-progress"]) == 0
    for case in phantom.cases(place / "data", split="test"):
        name = f"{case.case_id}.nii.gz"
        one, other = (read_volume(place / by / name) for by in ("by_script", "by_verb"))
        assert (one.array == other.array).all()
        image = read_volume(case.image)
        assert one.array.shape == image.array.shape
        assert abs(one.affine - image.affine).max() < 1e-5


def test_script_and_verb_give_the_same_results_and_a_report(place, runs, capsys):
    predicted = place / "scored"
    command = ["predict", "-i", str(place / "test.json"), "-o", str(predicted)]
    assert cli.run([*command, "-m", str(runs[1]), "--no-progress"]) == 0
    truth = str(place / "test.json")
    evaluate.main([str(predicted), truth, str(place / "results_script")])
    assert "pancreas" in capsys.readouterr().out
    verb = ["evaluate", "-i", str(predicted), "-l", truth, "-o", str(place / "results_verb")]
    assert cli.run([*verb, "--no-progress"]) == 0
    script, verb = (
        read_json(place / f"results_{by}" / "results.json") for by in ("script", "verb")
    )
    assert script == verb
    assert len(script["cases"]) == 2

    report.main([str(place / "results_verb"), str(place / "a.html"), "--run", str(runs[1])])
    page = (place / "a.html").read_text()
    assert all(organ in page for organ in phantom.LABELS)


def test_script_and_verb_explain_alike(place, runs, capsys):
    case = phantom.cases(place / "data", split="test")[0]
    common = [str(case.image), str(place / "why_script"), str(runs[0])]
    explain.main([*common, "--organs", "background", "heart", "--methods", "rollout", "grad_cam"])
    said = capsys.readouterr().out
    assert f"{case.case_id}_background.html" in said
    assert "heart: organ must be one of background, spleen" in said
    command = ["explain", str(runs[1]), "-i", str(case.image), "-o", str(place / "why_verb")]
    methods = ["--method", "rollout", "--method", "grad_cam"]
    assert cli.run([*command, "--organ", "background", *methods, "--no-progress"]) == 0
    for method in ("rollout", "grad_cam"):
        name = f"{case.case_id}_background_{method}.nii.gz"
        one, other = (read_volume(place / by / name) for by in ("why_script", "why_verb"))
        assert one.array.any()
        assert (one.array == other.array).all()


def test_training_again_into_the_same_folder_is_refused(place, runs, capsys):
    changes = [*TINY, f"data={place / 'data'}", f"out_dir={runs[1]}"]
    assert cli.run(["train", "phantom_transunet", *changes]) == 2
    assert "--resume" in capsys.readouterr().err


def test_script_and_verb_check_alike(place, tmp_path, capsys):
    assert check.main([str(place / "data")]) == cli.run(["check", "-i", str(place / "data")]) == 0
    spoilt = shutil.copytree(place / "data", tmp_path / "data")
    (spoilt / "labels" / "phantom_test_0000.nii.gz").unlink()
    capsys.readouterr()
    assert check.main([str(spoilt)]) == cli.run(["check", "-i", str(spoilt)]) == 3
    shown = capsys.readouterr()
    assert "phantom_test_0000" in shown.out
    assert "phantom_test_0000" in shown.err

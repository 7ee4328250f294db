import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import ModelError, UsageError
from medseg.inference.averaging import Averaged, activated, probabilities_of
from medseg.inference.predictor import Predictor, PredictSettings
from medseg.loading.geometry import SliceGeometry
from medseg.loading.preprocessing import Preprocessing
from medseg.model import LoadedModel, ModelSpec, read_model, write_inference, write_model
from tests.inference.whole_volume import Wavy, random_volume


def _model(seed=0, classes=4, spacing=None, inference=None):
    spec = ModelSpec(
        network={"_target_": "torch.nn.Conv2d"},
        labels={f"organ{index}": index for index in range(1, max(classes, 2))},
        preprocessing=Preprocessing(window=(-150.0, 200.0), spacing=spacing),
        geometry=SliceGeometry((24, 20)),
        inference=inference or {},
    )
    return LoadedModel(spec, Wavy(1, classes, seed).eval(), {})


def _images(seed=0):
    return torch.rand(3, 1, 24, 20, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_flips_are_averaged_as_one_would_by_hand(activation):
    network, images = Wavy(1, 4), _images()
    function = torch.sigmoid if activation == "sigmoid" else (lambda x: torch.softmax(x, 1))
    plain = function(network(images))
    left_right = function(network(images.flip(2))).flip(2)
    front_back = function(network(images.flip(3))).flip(3)
    both = function(network(images.flip(2).flip(3))).flip(3).flip(2)

    def found(tta):
        return probabilities_of([network], images, tta=tta, activation=activation)

    torch.testing.assert_close(found("none"), plain)
    torch.testing.assert_close(found("left_right"), (plain + left_right) / 2)
    torch.testing.assert_close(found("front_back"), (plain + front_back) / 2)
    expected = (plain + left_right + front_back + both) / 4
    torch.testing.assert_close(found("flips"), expected)
    assert not found("flips").allclose(plain, atol=0.01)


def test_the_mean_of_two_networks_is_taken_of_their_probabilities():
    one, other, images = Wavy(1, 4, 0), Wavy(1, 4, 1), _images()
    expected = (one(images).softmax(1) + other(images).softmax(1)) / 2
    torch.testing.assert_close(probabilities_of([one, other], images), expected)


def test_one_channel_becomes_background_and_class():
    logits = torch.tensor([0.0, 2.0, -1.0]).view(1, 1, 3, 1)
    found = activated(logits, "softmax")[0, :, :, 0]
    sigmoid = [0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))]
    np.testing.assert_allclose(found[1], sigmoid, atol=1e-6)
    np.testing.assert_allclose(found[0], 1 - np.array(sigmoid), atol=1e-6)


@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 3.0)])
@pytest.mark.parametrize("inference", [{}, {"activation": "sigmoid"}])
@pytest.mark.parametrize("classes", [1, 4])
def test_an_ensemble_of_twice_the_same_model_is_the_model(spacing, inference, classes, tmp_path):
    volume = random_volume(3)
    settings = PredictSettings(device="cpu", precision="float32")
    model = _model(classes=classes, spacing=spacing, inference=inference)
    alone = Predictor(model, settings)(volume, tmp_path / "alone.npy")
    twice = Predictor([model, model], settings)(volume, tmp_path / "twice.npy")
    assert len(np.unique(alone.array)) > 1
    np.testing.assert_array_equal(alone.array, twice.array)
    one, two = (np.load(tmp_path / f"{name}.npy") for name in ("alone", "twice"))
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_of_the_mean_give_back_the_mean(activation):
    networks, images = [Wavy(1, 4, 0), Wavy(1, 4, 1)], _images()
    mean = probabilities_of(networks, images, tta="flips", activation=activation)
    logits = Averaged(networks, "flips", activation)(images)
    torch.testing.assert_close(activated(logits, activation), mean)
    binary = [Wavy(1, 1, 0), Wavy(1, 1, 1)]
    mean = probabilities_of(binary, images)
    torch.testing.assert_close(
        activated(Averaged(binary, "none", activation)(images), "softmax"), mean
    )


def test_logits_of_very_sure_networks_stay_finite():
    class Sure(nn.Module):
        def forward(self, batch):
            return torch.cat([batch, -batch], dim=1) * 1e4

    for activation in ("softmax", "sigmoid"):
        assert Averaged([Sure()], "flips", activation)(_images()).isfinite().all()


def test_an_ensemble_asks_all_its_models():
    volume = random_volume(3)
    settings = PredictSettings(device="cpu", precision="float32")
    one, other = _model(0), _model(1)
    found = Predictor([one, other], settings)(volume)
    alone = [Predictor(model, settings)(volume).array for model in (one, other)]
    assert all((found.array != single).any() for single in alone)
    agreed = alone[0] == alone[1]
    assert agreed.any()
    assert np.mean(found.array[agreed] == alone[0][agreed]) > 0.95


def test_flips_change_nothing_for_a_network_that_is_blind_to_them():
    volume = random_volume(5)
    network = nn.Conv2d(1, 3, 1)
    spec = ModelSpec(
        {}, {"a": 1, "b": 2}, Preprocessing(window=(-150.0, 200.0)), SliceGeometry((24, 24))
    )
    model = LoadedModel(spec, network.eval(), {})
    labels = [
        Predictor(model, PredictSettings(device="cpu", precision="float32", tta=tta))(volume).array
        for tta in ("none", "flips")
    ]
    assert np.mean(labels[0] == labels[1]) > 0.999


def test_models_that_cannot_answer_together_are_refused():
    with pytest.raises(UsageError, match="differ in preprocessing"):
        Predictor([_model(), _model(spacing=(1.0, 1.0, 1.0))])
    with pytest.raises(UsageError, match="differ in labels"):
        Predictor([_model(), _model(classes=3)])
    with pytest.raises(UsageError, match="at least one model"):
        Predictor([])


def test_unknown_flips_are_refused():
    with pytest.raises(UsageError, match="tta 'rotations': expected one of none, left_right"):
        Predictor(_model(), PredictSettings(tta="rotations"))


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        ({"activation": "tanh"}, "activation"),
        ({"flip": True}, "flip unknown"),
        ({"postprocessing": {"tail": {"keep_largest": 1}}}, "no organ named tail"),
        ({"postprocessing": {"organ1": {"keep_largest": 0}}}, "keep_largest must be 1 or more"),
        ({"postprocessing": {"organ1": {"grow": 3}}}, "grow"),
        ({"postprocessing": {"organ1": {}}}, "got none of them"),
        ({"postprocessing": [1]}, "postprocessing"),
        ({"postprocessing": {"organ1": {"min_ml": "much"}}}, "postprocessing"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(inference, message):
    with pytest.raises(ModelError, match=message):
        Predictor(_model(inference=inference))


def test_settings_on_the_card_are_read_back_and_cards_without_them_still_load(tmp_path):
    spec = ModelSpec(
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        {"organ": 1}, Preprocessing(window=(0.0, 1.0)), SliceGeometry((8, 8)),
    )  # fmt: skip
    write_model(tmp_path, spec, nn.Conv2d(1, 2, 1), {})
    assert "inference" not in (tmp_path / "model.json").read_text()
    assert read_model(tmp_path).spec.inference == {}
    steps = {"postprocessing": {"organ": {"keep_largest": 1}}}
    write_inference(tmp_path, {"activation": "sigmoid"})
    write_inference(tmp_path, steps)
    assert read_model(tmp_path).spec.inference == {"activation": "sigmoid", **steps}
    predictor = Predictor(read_model(tmp_path))
    assert predictor.inference.postprocessing["organ"].keep_largest == 1


def test_a_predictor_ends_with_its_block():
    with Predictor(_model(), PredictSettings(precision="float32")) as predictor:
        predictor(random_volume(0))
        assert predictor.path is not None
    assert predictor.path is None

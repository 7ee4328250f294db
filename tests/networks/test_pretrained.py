import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet
from safetensors.torch import save_file
from scipy.ndimage import zoom

from medseg.errors import ModelError
from medseg.files import sha256, write_json
from medseg.networks.pretrained import load_pretrained
from medseg.networks.segmenter import Segmenter
from medseg.networks.transunet import TransUNet
from medseg.networks.unet_r50 import R50UNet
from medseg.networks.vit import ViT
from tests.networks.original_keys import fill
from tests.networks.published import SMALL, google_arrays, original_state, save, save_npz

VIT = {"patch_size": 16, "hidden_size": 32, "mlp_dim": 48, "num_heads": 4, "num_layers": 2}
PURE = {k: v for k, v in SMALL.items() if k not in ("block_units", "width_factor")}


def transunet(image_size=64, num_classes=3, **changes):
    return TransUNet(**{"image_size": image_size, "num_classes": num_classes} | SMALL | changes)


def pure(image_size=64, **changes):
    return TransUNet(image_size, 1, 3, "ViT-B_16", **PURE | changes)


def vit(image_size=64, in_channels=3, **changes):
    return ViT(image_size, in_channels, **{"num_classes": 7} | VIT | changes)


def assert_equal(state, other, prefix=""):
    for name, value in other.items():
        torch.testing.assert_close(state[prefix + name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    ],
    ids=["bare", "state_dict", "model, module"],
)
def test_a_checkpoint_of_the_original_fills_every_weight(tmp_path, wrap):
    network, expected = transunet(), transunet()
    fill(expected)
    report = load_pretrained(network, save(tmp_path / "a.pth", wrap(original_state(network))))
    assert_equal(network.state_dict(), expected.state_dict())
    assert len(report.used) == len(network.state_dict())
    assert [*report.left, *report.unused, *report.resized] == []


def test_the_old_format_of_pytorch_is_read(tmp_path):
    network = transunet()
    torch.save(original_state(network), tmp_path / "a", _use_new_zipfile_serialization=False)
    assert not load_pretrained(network, tmp_path / "a").left


def test_a_file_of_google_fills_backbone_and_encoder_and_drops_the_class_token(tmp_path):
    network = transunet()
    arrays = google_arrays(network, head=21)
    report = load_pretrained(network, save_npz(tmp_path / "weights.bin", arrays))
    state = network.state_dict()
    assert {name.split(".")[0] for name in report.left} == {"decoder", "head"}
    assert report.resized == {"encoder.pos_embed": "cls_token dropped"}
    assert set(report.unused) == {
        "cls", "head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias"
    }  # fmt: skip

    def equal(name, array):
        np.testing.assert_array_equal(state[name].numpy(), array)

    block = "Transformer/encoderblock_1"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    query, value = (arrays[f"{attention}/{part}/kernel"] for part in ("query", "value"))
    equal("encoder.pos_embed", arrays["Transformer/posembed_input/pos_embedding"][:, 1:])
    equal("encoder.blocks.1.attn.qkv.weight", np.concatenate([
        arrays[f"{attention}/{part}/kernel"].reshape(32, 32).T for part in ("query", "key", "value")
    ]))  # fmt: skip
    equal("encoder.blocks.1.attn.qkv.bias", np.concatenate([
        arrays[f"{attention}/{part}/bias"].ravel() for part in ("query", "key", "value")
    ]))  # fmt: skip
    assert query.shape == value.shape == (32, 4, 8)
    out = arrays[f"{attention}/out/kernel"]
    equal("encoder.blocks.1.attn.proj.weight", out.reshape(32, 32).T)
    equal("encoder.blocks.1.mlp.fc2.weight", arrays[f"{block}/MlpBlock_3/Dense_1/kernel"].T)
    kernel = arrays["block1/unit2/conv2/kernel"]
    equal("backbone.block1.1.conv2.weight", kernel.transpose(3, 2, 0, 1))
    equal("backbone.root.1.weight", arrays["gn_root/scale"].ravel())


def test_a_file_of_google_keeps_its_class_token_where_there_is_one_and_a_head_that_fits(tmp_path):
    arrays = google_arrays(pure(), head=7)
    network = vit()
    report = load_pretrained(network, save_npz(tmp_path / "ViT.npz", arrays))
    assert not report.left
    assert report.unused == ["pre_logits/kernel", "pre_logits/bias"]
    np.testing.assert_array_equal(network.cls_token.detach().numpy(), arrays["cls"])
    np.testing.assert_array_equal(
        network.pos_embed.detach().numpy(), arrays["Transformer/posembed_input/pos_embedding"]
    )
    np.testing.assert_array_equal(network.head.weight.detach().numpy(), arrays["head/kernel"].T)


def test_each_part_comes_from_the_first_of_several_files_that_has_it_in_the_right_sizes(tmp_path):
    hybrid = save_npz(tmp_path / "R50+ViT.npz", google_arrays(transunet()))
    wide = google_arrays(pure(hidden_size=64, num_heads=8), head=7)
    wide_file = save_npz(tmp_path / "ViT-L.npz", wide)
    for files in ([hybrid, wide_file], [wide_file, hybrid]):
        network = transunet(hidden_size=64, num_heads=8)
        report = load_pretrained(network, files)
        assert {name.split(".")[0] for name in report.used} == {"backbone", "encoder"}
        left = {name for name in report.left if name.startswith(("backbone", "encoder"))}
        assert left == {"encoder.patch_embed.proj.weight", "encoder.patch_embed.proj.bias"}
        assert report.left["encoder.patch_embed.proj.bias"].startswith("patches of 16×16")
        norm = wide["Transformer/encoder_norm/scale"]
        np.testing.assert_array_equal(network.encoder.norm.weight.detach().numpy(), norm)
        assert "R50+ViT.npz: embedding/kernel" in report.unused
    with pytest.raises(ModelError, match=r"R50\+ViT\.npz: .*expected shape .*64.*got .*32"):
        load_pretrained(transunet(hidden_size=64, num_heads=8), hybrid)


@pytest.mark.parametrize("distilled", [False, True])
def test_deit_and_timm_go_into_vit_segmenter_and_the_encoder_of_transunet(tmp_path, distilled):
    state = vit(distillation_token=distilled).state_dict()
    file = save(tmp_path / "deit.pth", {"model": state})
    same = vit(distillation_token=distilled)
    assert not load_pretrained(same, file).left
    assert_equal(same.state_dict(), state)

    segmenter = Segmenter(64, 1, 3, **VIT)
    report = load_pretrained(segmenter, file)
    assert {name.split(".")[0] for name in report.left} == {"decoder"}
    assert_equal(segmenter.encoder.blocks.state_dict(), vit_blocks(state))
    assert_equal(segmenter.encoder.state_dict(), {"cls_token": state["cls_token"]})

    network = pure()
    load_pretrained(network, file)
    assert_equal(network.encoder.blocks.state_dict(), vit_blocks(state))
    places = state["pos_embed"][:, 2 if distilled else 1 :]
    assert torch.equal(network.encoder.pos_embed, places)


def vit_blocks(state):
    return {k.removeprefix("blocks."): v for k, v in state.items() if k.startswith("blocks.")}


def test_safetensors_are_read(tmp_path):
    state = vit().state_dict()
    save_file(state, tmp_path / "weights")
    network = vit()
    load_pretrained(network, tmp_path / "weights")
    assert_equal(network.state_dict(), state)


def test_a_resnet_of_torchvision_goes_into_the_encoder_of_the_unet(tmp_path):
    backbone = R50UNet(1, 3, encoder="ResNet50").backbone.state_dict()
    published = backbone | {"fc.weight": torch.zeros(9, 2048), "fc.bias": torch.zeros(9)}
    network = R50UNet(2, 3, encoder="ResNet50")
    report = load_pretrained(network, save(tmp_path / "resnet50.pth", published))
    assert report.unused == ["fc.weight", "fc.bias"]
    stem = backbone.pop("conv1.weight")
    assert report.resized == {"backbone.conv1.weight": "3 input channels repeated into 2, scaled"}
    torch.testing.assert_close(network.backbone.conv1.weight, stem[:, :2] * 1.5)
    assert_equal(network.state_dict(), backbone, "backbone.")


def test_the_resnet_of_google_goes_into_the_unet(tmp_path):
    network = R50UNet(1, 3, block_units=(2, 1, 1), width_factor=0.25, decoder_channels=(8,) * 5)
    report = load_pretrained(network, save_npz(tmp_path / "a.npz", google_arrays(transunet())))
    assert not [name for name in report.left if name.startswith("backbone")]


@pytest.mark.parametrize("image_size", [(96, 96), (48, 128), (32, 32)])
def test_positions_of_another_grid_are_resized_as_scipy_zooms(tmp_path, image_size):
    arrays = google_arrays(transunet())
    network = transunet(image_size)
    report = load_pretrained(network, save_npz(tmp_path / "a.npz", arrays))
    places = arrays["Transformer/posembed_input/pos_embedding"][0, 1:].reshape(4, 4, 32)
    rows, columns = image_size[0] // 16, image_size[1] // 16
    expected = zoom(places, (rows / 4, columns / 4, 1), order=1).reshape(1, -1, 32)
    np.testing.assert_allclose(network.encoder.pos_embed.detach(), expected, atol=1e-6)
    assert report.resized["encoder.pos_embed"] == f"grid 4×4 → {rows}×{columns}, cls_token dropped"


def test_positions_of_class_and_distillation_token_stay_before_those_of_the_grid(tmp_path):
    state = vit(distillation_token=True).state_dict()
    network = vit((96, 64), distillation_token=True)
    load_pretrained(network, save(tmp_path / "a.pth", state))
    assert torch.equal(network.pos_embed[:, :2], state["pos_embed"][:, :2])
    assert not torch.equal(network.pos_embed[:, 2:18], state["pos_embed"][:, 2:])
    plain = vit()
    report = load_pretrained(plain, tmp_path / "a.pth")
    assert torch.equal(plain.pos_embed[:, 1:], state["pos_embed"][:, 2:])
    assert report.resized == {"pos_embed": "dist_token dropped"}


def test_one_channel_gives_what_three_equal_ones_gave(tmp_path):
    grey, colour = vit(in_channels=1).eval(), vit().eval()
    file = save(tmp_path / "a.pth", colour.state_dict())
    report = load_pretrained(grey, file)
    assert report.resized == {"patch_embed.proj.weight": "3 input channels summed into 1"}
    image = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)))
    six = vit(in_channels=6).eval()
    load_pretrained(six, file)
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(six(image.repeat(1, 2, 1, 1)), colour(image))


@pytest.mark.parametrize("make", [
    lambda classes: transunet(num_classes=classes),
    lambda classes: Segmenter(64, 1, classes, **VIT),
    lambda classes: Segmenter(64, 1, classes, decoder="linear", **VIT),
    lambda classes: BasicUNet(2, 1, classes, features=(4,) * 6),
    lambda classes: vit(num_classes=classes),
], ids=["TransUNet", "Segmenter", "linear", "MONAI", "ViT"])  # fmt: skip
def test_a_head_of_other_classes_keeps_its_initial_values_and_says_so(tmp_path, make):
    trained, network = make(5), make(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_pretrained(network, save(tmp_path / "a.pt", trained.state_dict()))
    assert report.left
    assert set(report.left.values()) == {"a head of 5 classes there, of 3 here"}
    for name, value in network.state_dict().items():
        source = before if name in report.left else trained.state_dict()
        assert torch.equal(value, source[name])
    assert len(report.left) < 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlp_dim": 64}, r"layer\.0\.ffn\.fc1\.weight → encoder\.blocks\.0\.mlp\.fc1\.weight: "
         r"expected shape \(64, 32\), got \(48, 32\).*and 3 more"),
        ({"hidden_size": 64}, r"encoder\.pos_embed: expected shape \(1, 16, 64\), got \(1, 16, 32"),
        ({"decoder_channels": (32, 16, 16, 8, 4)}, r"decoder\.blocks\.3\.conv1\.0\.weight"),
    ],
)  # fmt: skip
def test_what_claims_a_place_of_another_size_is_refused_and_nothing_is_loaded(
    tmp_path, change, message
):
    file, network = save(tmp_path / "a.pth", original_state(transunet())), transunet(**change)
    before = [value.clone() for value in network.state_dict().values()]
    with pytest.raises(ModelError, match=message):
        load_pretrained(network, file)
    for old, new in zip(before, network.state_dict().values(), strict=True):
        assert torch.equal(old, new)


def test_weights_of_another_network_are_refused_with_the_nearest_names(tmp_path):
    file = save(tmp_path / "a.pth", BasicUNet(2, 1, 3, features=(4,) * 6).state_dict())
    with pytest.raises(ModelError, match=r"0 of its .* the nearest names here are .*, .*, "):
        load_pretrained(transunet(), file)


def test_a_missing_key_of_three_is_named(tmp_path):
    state = original_state(transunet())
    del state["transformer.encoder.layer.1.attn.key.bias"]
    with pytest.raises(ModelError, match=r"expected encoder\.blocks\.1\.attn\.key\.bias"):
        load_pretrained(transunet(), save(tmp_path / "a.pth", state))


def test_the_report_counts_and_names_files_by_content(tmp_path):
    report = load_pretrained(transunet(), save_npz(tmp_path / "a.npz", google_arrays(transunet())))
    counts = report.provenance()
    assert counts["files"][0]["name"] == "a.npz"
    assert len(counts["files"][0]["sha256"]) == 64
    assert counts["used"] + counts["left"] == len(transunet().state_dict())
    assert (counts["resized"], counts["unused"]) == (1, 1)
    assert set(report.to_plain()) == {"files", "used", "resized", "left", "unused"}


def test_a_model_card_tells_a_grid_of_4_by_9_from_one_of_6_by_6(tmp_path):
    trained, network = transunet((64, 144)), transunet((64, 96))
    weights = tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), weights)
    card = {"network": {"image_size": [64, 144]}, "weights_sha256": sha256(weights)}
    write_json(tmp_path / "model.json", card)
    report = load_pretrained(network, tmp_path)
    assert report.resized == {"encoder.pos_embed": "grid 4×9 → 4×6"}
    (tmp_path / "model.json").unlink()
    report = load_pretrained(network, weights)
    assert report.resized == {"encoder.pos_embed": "grid 6×6 → 4×6"}


def test_a_checkpoint_of_our_own_training_is_taken_for_its_network(tmp_path):
    network = transunet()
    save(tmp_path / "last.pt", {"network": network.state_dict(), "optimizer": {"state": {}}})
    again = transunet()
    assert not load_pretrained(again, tmp_path / "last.pt").left
    assert_equal(again.state_dict(), network.state_dict())

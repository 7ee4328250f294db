"""Weights of networks for images in networks for volumes."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import resnet10
from safetensors.torch import save_file

from medseg.errors import ModelError
from medseg.networks.layers.resnetv2 import ResNetV2
from medseg.networks.layers.resnetv2_3d import ResNetV23D
from medseg.networks.pretrained import load_pretrained
from medseg.networks.transunet import TransUNet
from medseg.networks.transunet_3d import TransUNet3D
from medseg.networks.vit import ViT
from medseg.networks.weight_fit import inflate
from tests.networks.volumes import WIDTHS, transunet_3d, volumes

UNITS = {"block_units": (1, 2, 1), "width_factor": 0.125}


def flat_and_deep(depth):
    """Images, and volumes that show them at every depth."""
    images = volumes(2, 3, 64, 48)
    return images, images[..., None].expand(*images.shape, depth)


def with_standardised_weights(network):
    """One whose kernels are not of mean 0 and variance 1, as trained ones are not."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.normal_(parameter, 0.1, 0.3)
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    return network


def filled(network, other):
    """``network`` with the weights of ``other``, kernels repeated."""
    state = {
        name: inflate(value, network.state_dict()[name].shape[-1], standardised=True)
        if value.ndim == 4
        else value
        for name, value in other.state_dict().items()
    }
    network.load_state_dict(state)
    return network


def saved(network, path):
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


def test_a_repeated_kernel_does_the_same_where_nothing_changes_along_the_depth():
    kernel, (images, deep) = volumes(5, 3, 3, 3), flat_and_deep(7)
    there = F.conv3d(deep, inflate(kernel, 3), padding=1)
    here = F.conv2d(images, kernel, padding=1)
    for depth in range(1, 6):  # at the borders it sees zeros
        torch.testing.assert_close(there[..., depth], here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("steps", "depth"), [((2, 2, 2, 2), 16), ((1, 2, 1, 2), 12)])
def test_the_inflated_resnet_gives_the_features_of_the_2d_one_at_every_depth(steps, depth):
    torch.manual_seed(0)
    flat = with_standardised_weights(ResNetV2(3, **UNITS)).double()
    deep = ResNetV23D(3, strides=[(2, 2, step) for step in steps], **UNITS).double()
    filled(deep, flat)
    images, volume = flat_and_deep(depth)
    with torch.inference_mode():
        features, skips = flat(images.double())
        features_3d, skips_3d = deep(volume.double())
    for here, there in zip([features, *skips], [features_3d, *skips_3d], strict=True):
        for level in there.unbind(-1):
            torch.testing.assert_close(level, here, rtol=1e-4, atol=1e-4)
    left = depth // (steps[0] * steps[1] * steps[2] * steps[3])
    assert features_3d.shape == (*features.shape, left)


def test_one_channel_is_the_same_as_three_equal_ones():
    torch.manual_seed(0)
    network, volume = ResNetV23D(3, **UNITS).double(), volumes(1, 1, 32, 32, 16).double()
    with torch.inference_mode():
        three = network(volume.expand(-1, 3, -1, -1, -1))[0]
        torch.testing.assert_close(network(volume)[0], three)


def test_a_2d_transunet_fills_backbone_and_transformer_of_a_3d_one(tmp_path):
    torch.manual_seed(0)
    flat = TransUNet(64, 1, 3, hidden_size=24, mlp_dim=24, num_heads=6, num_layers=2)
    deep = transunet_3d(encoder="r50", widths=(4,) * 5, attention="windowed", window=(4, 4, 4))
    report = load_pretrained(deep, saved(flat, tmp_path / "flat.safetensors"))
    own = {name for name in deep.state_dict() if name.startswith(("decoder.", "head."))}
    bias_tables = {name for name in deep.state_dict() if ".pattern." in name}
    assert set(report.used) == set(deep.state_dict()) - own - bias_tables
    assert set(report.left) == own | bias_tables
    assert all(name.startswith(("decoder.", "head.")) for name in report.unused)
    assert report.resized["backbone.root.0.weight"] == "repeated 7 times along the depth"
    assert report.resized["encoder.pos_embed"] == "grid 4×4 → 3×4×3"
    there = deep.state_dict()["backbone.block1.0.conv2.weight"]
    here = flat.state_dict()["backbone.block1.0.conv2.weight"]
    assert all(torch.equal(level, here) for level in there.unbind(-1))


def test_the_inflated_transformer_sees_in_a_volume_what_it_saw_in_the_image(tmp_path):
    torch.manual_seed(0)
    flat = TransUNet((64, 48), 1, 3, hidden_size=24, mlp_dim=24, num_heads=6, num_layers=2)
    with_standardised_weights(flat)
    deep = TransUNet3D((64, 48, 32), 1, 3, encoder="r50", widths=(4,) * 5, num_layers=2, **WIDTHS)
    load_pretrained(deep, saved(flat, tmp_path / "flat.safetensors"))
    flat, deep = flat.eval().double(), deep.eval().double()
    images, volume = flat_and_deep(32)
    with torch.inference_mode():
        here = flat.encoder.feature_map(flat.backbone(images.double())[0])
        there = deep.encoder(deep.backbone(volume.double())[0])
    assert there.shape == (*here.shape, 2)
    for level in there.unbind(-1):
        torch.testing.assert_close(level, here, rtol=1e-3, atol=1e-4)


def test_positions_of_an_image_are_those_of_every_depth(tmp_path):
    torch.manual_seed(0)
    flat = ViT((64, 96), 1, 0, class_token=False, patch_size=8,
               **{k: v for k, v in WIDTHS.items() if k != "dropout"}, num_layers=1)  # fmt: skip
    deep = ViT((64, 96, 24), 1, 0, class_token=False, patch_size=8,
               **{k: v for k, v in WIDTHS.items() if k != "dropout"}, num_layers=1)  # fmt: skip
    load_pretrained(deep, saved(flat, tmp_path / "flat.safetensors"))
    places = deep.pos_embed.reshape(8, 12, 3, -1)
    for level in places.unbind(2):
        torch.testing.assert_close(level, flat.pos_embed.reshape(8, 12, -1))
    torch.testing.assert_close(
        deep.patch_embed.proj.weight.sum(-1), flat.patch_embed.proj.weight, rtol=1e-5, atol=1e-6
    )


def test_a_plain_encoder_takes_the_transformer_alone(tmp_path):
    torch.manual_seed(0)
    flat = TransUNet(64, 1, 3, hidden_size=24, mlp_dim=24, num_heads=6, num_layers=2,
                     block_units=(1, 1, 1), width_factor=0.25)  # fmt: skip
    deep = transunet_3d()
    report = load_pretrained(deep, saved(flat, tmp_path / "flat.safetensors"))
    assert all(name.startswith("encoder.") for name in report.used)
    assert "encoder.blocks.1.mlp.fc2.weight" in report.used
    assert report.left["encoder.patch_embed.proj.weight"] == (
        "patches of 1×1 of 256 channels there, of 1×1×1 of 8 channels here"
    )


def test_another_width_of_the_transformer_is_refused(tmp_path):
    flat = TransUNet(64, 1, 3, hidden_size=36, mlp_dim=24, num_heads=6, num_layers=2,
                     block_units=(1, 1, 1), width_factor=0.25)  # fmt: skip
    with pytest.raises(ModelError, match="expected shape"):
        load_pretrained(transunet_3d(), saved(flat, tmp_path / "flat.safetensors"))


def test_a_3d_network_of_monai_takes_2d_weights_too(tmp_path):
    flat = resnet10(spatial_dims=2, n_input_channels=1, num_classes=2)
    deep = resnet10(spatial_dims=3, n_input_channels=1, num_classes=2)
    report = load_pretrained(deep, saved(flat, tmp_path / "flat.safetensors"))
    assert set(report.used) == set(deep.state_dict())
    kernels = [name for name, value in flat.state_dict().items() if value.ndim == 4]
    assert {n for n in kernels if deep.state_dict()[n].shape[-1] > 1} == set(report.resized)

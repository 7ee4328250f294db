import pytest
import torch
from monai.networks.nets import VNet as MonaiVNet
from torch import nn

from medseg.errors import UsageError
from medseg.networks.vnet import VNet


@pytest.mark.parametrize("sides", [(32, 16), (16, 16, 32)])
def test_it_is_monais_network_where_that_takes_the_size(sides):
    ours = VNet(2, 3, spatial_dims=len(sides)).eval()
    theirs = MonaiVNet(len(sides), 2, 3).eval()
    theirs.load_state_dict(ours.net.state_dict())
    image = torch.randn(1, 2, *sides)
    torch.testing.assert_close(ours(image), theirs(image))


@pytest.mark.parametrize("sides", [(17, 40), (20, 16, 33)])
def test_other_sizes_are_padded_and_cropped(sides):
    network = VNet(1, 2, spatial_dims=len(sides)).eval()
    assert network(torch.randn(2, 1, *sides)).shape == (2, 2, *sides)


def test_dropout_drops_channels_and_not_images():
    torch.manual_seed(0)
    dropouts = [m for m in VNet(1, 2).modules() if isinstance(m, nn.Dropout2d)]
    assert dropouts
    dropped = dropouts[0].train()(torch.ones(64, 8, 2, 2)).flatten(2)
    assert torch.equal(dropped.amax(2), dropped.amin(2))  # whole channels
    assert 0.3 < (dropped[:, :, 0] == 0).float().mean() < 0.7
    assert (dropped.amax((1, 2)) > 0).sum() > 60  # and hardly ever all of an image
    assert not any(isinstance(m, nn.Dropout3d) for m in VNet(1, 2).modules())
    assert any(isinstance(m, nn.Dropout3d) for m in VNet(1, 2, spatial_dims=3).modules())


@pytest.mark.parametrize("in_channels", [1, 3, 5, 7, 16])
def test_any_number_of_channels_up_to_sixteen_goes_in(in_channels):
    assert VNet(in_channels, 2).eval()(torch.randn(1, in_channels, 16, 16)).shape[1] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 17}, "in_channels must be 1 to 16 and num_classes 1 or more, got 17"),
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"dropout": 1.0}, "at least 0 and below 1, got 1.0"),
    ],
)
def test_error_names_what_does_not_fit(arguments, message):
    with pytest.raises(UsageError, match=message):
        VNet(**arguments)


@pytest.mark.parametrize(("dims", "sides"), [(2, "H, W"), (3, "D, H, W")])
def test_error_names_the_shape_of_an_image_that_does_not_fit(dims, sides):
    with pytest.raises(ValueError, match=rf"\(B, 1, {sides}\), got \(1, 2, 16\)"):
        VNet(1, 2, spatial_dims=dims)(torch.zeros(1, 2, 16))

import pytest
import torch

from medseg.networks.layers.attention.rolling import roll


@pytest.mark.parametrize("shifts", [(-2, -1, -3), (2, 1, 3), (0, -1, 0), (0, 0, 0), (4, 9, -8)])
def test_it_and_its_gradient_are_those_of_torch_roll(shifts):
    torch.manual_seed(0)
    image = torch.randn(2, 4, 5, 7, 3, 2, dtype=torch.float64).transpose(1, 3).requires_grad_()
    wanted = image.roll(shifts, (1, 2, 3))
    found = roll(image, shifts)
    assert torch.equal(found, wanted)
    assert torch.equal(roll(image.detach(), shifts), wanted)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad(out, image, weights)[0] for out in (found, wanted)]
    assert torch.equal(*gradients)

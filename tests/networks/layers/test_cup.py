import torch

from medseg.networks.layers.cup import CUP, UpBlock


def test_each_block_doubles_the_size_and_takes_its_skip():
    decoder = CUP(6, (4, 3, 0, 0), channels=(8, 7, 6, 5, 2))
    skips = [torch.randn(2, 4, 6, 4), torch.randn(2, 3, 12, 8)]
    assert decoder(torch.randn(2, 6, 3, 2), skips).shape == (2, 2, 48, 32)


def test_upsampling_keeps_the_corners():
    block, seen = UpBlock(1, 0, out_channels=1), []
    block.conv1.register_forward_hook(lambda *call: seen.append(call[1][0]))
    block(torch.tensor([[[[0.0, 3.0], [6.0, 9.0]]]]))
    expected = torch.tensor([[0.0, 1.0, 2.0, 3.0]]) + torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    torch.testing.assert_close(seen[0][0, 0], expected)


def test_the_skip_comes_after_the_features():
    block, seen = UpBlock(2, 3, out_channels=1), []
    block.conv1.register_forward_hook(lambda *call: seen.append(call[1][0]))
    skip = torch.randn(1, 3, 4, 4)
    block(torch.randn(1, 2, 2, 2), skip)
    assert torch.equal(seen[0][:, 2:], skip)

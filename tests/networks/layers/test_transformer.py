import math

import pytest
import torch
from torch import nn

from medseg.networks.layers.transformer import Attention, Block, Mlp


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return torch.randn(2, 7, 12)


def test_attention_equals_torchs_multi_head_attention(tokens):
    layer, reference = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    reference.load_state_dict({
        "in_proj_weight": layer.qkv.weight, "in_proj_bias": layer.qkv.bias,
        "out_proj.weight": layer.proj.weight, "out_proj.bias": layer.proj.bias,
    })  # fmt: skip
    torch.testing.assert_close(layer(tokens), reference(tokens, tokens, tokens)[0])


def test_fused_and_explicit_attention_are_the_same_function(tokens):
    layer = Attention(12, 3)
    fused = layer(tokens)
    layer.fused = False
    torch.testing.assert_close(layer(tokens), fused)


def test_a_hook_on_attend_sees_weights_that_sum_to_one(tokens):
    layer, seen = Attention(12, 3), []
    layer.fused = False
    layer.attend.register_forward_hook(lambda *call: seen.append(call[2]))
    layer(tokens)
    assert seen[0].shape == (2, 3, 7, 7)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, 7))


def test_the_activation_is_the_exact_gelu():
    mlp = Mlp(1, 1)
    for layer in (mlp.fc1, mlp.fc2):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    expected = x * 0.5 * (1 + torch.tensor([math.erf(v / math.sqrt(2)) for v in x]).double())
    torch.testing.assert_close(mlp.double()(x[:, None])[:, 0], expected, atol=1e-7, rtol=0)


def test_norms_have_an_epsilon_of_one_millionth():
    block = Block(4, 2, mlp_dim=8)
    assert block.norm1.eps == block.norm2.eps == 1e-6


def test_a_block_normalises_before_and_adds_after(tokens):
    block = Block(12, 3, mlp_dim=24)
    middle = tokens + block.attn(block.norm1(tokens))
    torch.testing.assert_close(block(tokens), middle + block.mlp(block.norm2(middle)))


def test_dropout_acts_in_training_only(tokens):
    block = Block(12, 3, mlp_dim=24, dropout=0.5)
    assert not torch.equal(block(tokens), block(tokens))
    block.eval()
    assert torch.equal(block(tokens), block(tokens))


def test_parameters_are_named_as_in_timm():
    parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    expected = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert {name for name, _ in Block(4, 2, mlp_dim=8).named_parameters()} == expected


def test_error_names_the_width_and_the_heads():
    with pytest.raises(ValueError, match=r"channels \(10\).*num_heads \(3\)"):
        Attention(10, 3)

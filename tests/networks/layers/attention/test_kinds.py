"""What all kinds of attention have in common, and what each of them is told to do."""

import itertools
import math

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.networks.layers.attention import ATTENTIONS, GridBlock, make_attention
from medseg.networks.layers.attention.mixing import Mixing
from medseg.networks.layers.transformer import Attention, Block

GRID = (4, 6, 5)


def tokens_of(grid=GRID, channels=12):
    torch.manual_seed(0)
    return torch.randn(2, math.prod(grid), channels)


def heard(layer, tokens):
    """The weights of every softmax that hooks come to see."""
    seen = []
    handles = [
        part.attend.register_forward_hook(lambda *call: seen.append(call[2]))
        for part in layer.modules()
        if isinstance(part, Mixing)
    ]
    layer(tokens, GRID)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_hooks_see_weights_that_sum_to_one_once_it_is_not_fused(kind):
    layer = make_attention(kind, 12, 3).eval().requires_grad_(False)
    assert layer.fused
    assert heard(layer, tokens_of()) == []
    layer.fused = False
    weights = heard(layer, tokens_of())
    assert weights
    for own in weights:
        torch.testing.assert_close(own.sum(-1), torch.ones(own.shape[:-1]))


def test_setting_fused_on_every_module_that_has_it_reaches_all():
    layer = make_attention("axial", 12, 3)
    for part in layer.modules():
        if hasattr(part, "fused"):
            part.fused = False
    assert not layer.fused
    assert len(heard(layer, tokens_of())) == 3


def test_dense_attention_is_that_of_the_vision_transformer():
    ours, theirs = make_attention("dense", 12, 3), Attention(12, 3)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(tokens_of(), GRID), theirs(tokens_of()))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_weights_of_dense_attention_fit_into_every_kind(kind):
    layer = make_attention(kind, 12, 3)
    missing, unexpected = layer.load_state_dict(Attention(12, 3).state_dict(), strict=False)
    assert unexpected == []
    assert all(name.endswith("bias_table") for name in missing)


def test_only_windows_have_a_bias_and_only_for_their_heads():
    tables = {
        kind: [
            tuple(value.shape)
            for name, value in make_attention(kind, 12, 4, window=(2, 3, 4)).named_parameters()
            if name.endswith("bias_table")
        ]
        for kind in ATTENTIONS
    }
    own = {"windowed": [(4, 3, 5, 7)], "window_grid": [(2, 3, 5, 7)]}
    assert tables == {kind: own.get(kind, []) for kind in ATTENTIONS}


def test_a_learned_bias_gives_the_same_with_and_without_gradients():
    layer = make_attention("windowed", 12, 3, layer_index=1)
    torch.nn.init.normal_(layer.pattern.bias_table)
    learned = layer(tokens_of(), GRID)
    with torch.inference_mode():
        torch.testing.assert_close(layer(tokens_of(), GRID), learned)


def test_windows_are_even_so_that_little_is_padded():
    owners = make_attention("windowed", 12, 3, window=4).pattern.cutting((5, 8, 9)).owners()
    sizes = np.bincount(owners)
    assert len(sizes) == 2 * 2 * 3
    assert set(sizes) == {3 * 4 * 3, 2 * 4 * 3}


def test_odd_layers_shift_their_windows_by_half_of_one():
    even, odd = (
        make_attention("windowed", 12, 3, axes=2, window=4, layer_index=index).mask_of((8, 4))[0]
        for index in (0, 1)
    )
    first_of_row = 4 * np.arange(8)
    assert even[0, first_of_row].tolist() == [True] * 4 + [False] * 4
    assert odd[0, first_of_row].tolist() == [True] * 2 + [False] * 6
    assert odd[first_of_row[2], first_of_row].tolist() == [False] * 2 + [True] * 4 + [False] * 2


@pytest.mark.parametrize("grid", [(9, 12, 10), (24, 16)], ids=str)
def test_block_sparse_sees_its_window_k_others_and_the_global_tokens(grid):
    layer = make_attention("block_sparse", 12, 3, axes=len(grid), window=4, gathered_blocks=2)
    mask = layer.mask_of(grid)[0]
    everywhere = mask.all(axis=1)
    assert everywhere.sum() == 2 ** len(grid)
    assert (mask.all(axis=0) == everywhere).all()
    cut = layer.pattern.plan(grid).cut
    window_of = cut.owners()
    seen = [
        set(window_of[np.flatnonzero(mask[token] & ~everywhere)])
        for token in np.flatnonzero(~everywhere)
    ]
    assert all(len(windows) == 3 for windows in seen)
    assert all(
        window_of[token] in windows
        for token, windows in zip(np.flatnonzero(~everywhere), seen, strict=True)
    )
    assert len({tuple(sorted(windows)) for windows in seen}) == math.prod(cut.counts)


def test_block_sparse_draws_the_same_again_and_something_else_in_another_layer():
    masks = [
        make_attention("block_sparse", 12, 3, window=2, layer_index=index).mask_of((8, 8, 8))
        for index in (0, 0, 1)
    ]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()


def test_block_sparse_does_without_global_tokens_and_without_other_windows():
    layer = make_attention("block_sparse", 12, 3, gathered_blocks=0, global_tokens=0)
    windowed = make_attention("windowed", 12, 3)
    assert (layer.mask_of(GRID) == windowed.mask_of(GRID)).all()
    windowed.load_state_dict(layer.state_dict(), strict=False)
    torch.nn.init.zeros_(windowed.pattern.bias_table)
    torch.testing.assert_close(layer(tokens_of(), GRID), windowed(tokens_of(), GRID))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_dropout_acts_in_training_only(kind):
    layer, tokens = make_attention(kind, 12, 3, dropout=0.5), tokens_of()
    assert not torch.equal(layer(tokens, GRID), layer(tokens, GRID))
    layer.eval()
    assert torch.equal(layer(tokens, GRID), layer(tokens, GRID))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_half_precision_goes_through_forward_and_backward(kind):
    layer, tokens = make_attention(kind, 12, 3, layer_index=1), tokens_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(tokens, GRID)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert all(value.grad.isfinite().all() for value in layer.parameters())
    torch.testing.assert_close(out.float(), layer(tokens, GRID), atol=0.05, rtol=0.05)


def test_heads_are_shared_out_as_equally_as_can_be():
    mask = make_attention("axial", 20, 5).mask_of((2, 3, 4))
    assert [int(own[0].sum()) for own in mask] == [2, 2, 3, 3, 4]


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_block_is_that_of_the_vision_transformer_with_any_attention(kind):
    block = GridBlock(make_attention(kind, 12, 3), 12, mlp_dim=24)
    tokens = tokens_of()
    middle = tokens + block.attn(block.norm1(tokens), GRID)
    torch.testing.assert_close(block(tokens, GRID), middle + block.mlp(block.norm2(middle)))


def test_a_block_takes_the_weights_of_the_vision_transformers_block():
    theirs = Block(12, 3, mlp_dim=24)
    ours = GridBlock(make_attention("dense", 12, 3), 12, mlp_dim=24)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(tokens_of(), GRID), theirs(tokens_of()))


def test_a_block_starts_with_small_weights_and_no_biases():
    block = GridBlock(make_attention("windowed", 96, 3), 96, mlp_dim=96)
    for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        assert not layer.bias.any()
    assert 0 < float(block.attn.pattern.bias_table.detach().std()) < 0.03


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "sparse"}, "attention must be one of dense, windowed.*'sparse'"),
        ({"axes": 4}, "2 or 3 axes, got 4"),
        ({"window": 0}, "window must be 1 or more.*got 0"),
        ({"window": (2, 2)}, r"each of 3 axes, got \(2, 2\)"),
        ({"kind": "axial", "channels": 8, "num_heads": 2}, "3 heads or more, got 2"),
        ({"gathered_blocks": -1}, "gathered_blocks.*got -1"),
        ({"global_tokens": -1}, "global_tokens.*got -1"),
    ],
)
def test_errors_say_what_was_wanted_and_what_came(arguments, said):
    given = {"kind": "windowed", "channels": 12, "num_heads": 3} | arguments
    with pytest.raises(UsageError, match=said):
        make_attention(**given)


def test_errors_of_widths_and_grids_name_their_numbers():
    with pytest.raises(ValueError, match=r"channels \(10\).*num_heads \(3\)"):
        make_attention("dense", 10, 3)
    with pytest.raises(ValueError, match=r"\(4, 6, 6\).*120 tokens"):
        make_attention("dense", 12, 3)(tokens_of(), (4, 6, 6))


def test_every_kind_tells_a_mask_for_each_head_in_which_tokens_see_themselves():
    for kind, axes in itertools.product(ATTENTIONS, (2, 3)):
        mask = make_attention(kind, 12, 3, axes=axes).mask_of(GRID[:axes])
        count = math.prod(GRID[:axes])
        assert mask.shape == (3, count, count)
        assert mask.dtype == bool
        assert mask[:, np.arange(count), np.arange(count)].all()

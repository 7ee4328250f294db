"""Every kind is dense attention under a mask: the same numbers and the same gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.networks.layers.attention import ATTENTIONS, make_attention
from tests.networks.layers.attention import reference

CHANNELS, HEADS, WINDOW = 24, 6, 3
GRIDS = ((4, 4, 4), (6, 6, 6), (5, 7, 9), (8, 8), (7, 10), (1, 2, 5))
CLOSE = {"atol": 2e-5, "rtol": 0}


def layer_of(kind, grid, *, layer_index=0, window=WINDOW):
    """With numbers of every size in weights and biases, so that a leak would show."""
    torch.manual_seed(0)
    layer = make_attention(
        kind, CHANNELS, HEADS, axes=len(grid), window=window, layer_index=layer_index
    )
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim == 2 else 1.0)
    return layer


def tokens_of(grid, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, math.prod(grid), CHANNELS, requires_grad=True)


def expected_mask(kind, layer, grid, layer_index):
    """From the coordinates, (M, N, N); of block-sparse attention from the layer itself."""
    odd, axes = layer_index % 2 == 1, range(len(grid))
    masks = {
        "dense": lambda: [reference.same_but_along(grid, axes)],
        "windowed": lambda: [reference.window_mask(grid, WINDOW, odd)],
        "window_grid": lambda: [
            reference.window_mask(grid, WINDOW, odd),
            reference.dilated_mask(grid, WINDOW),
        ],
        "axial": lambda: [reference.same_but_along(grid, (axis,)) for axis in axes],
        "plane_depth": lambda: [
            reference.same_but_along(grid, axes[:-1]),
            reference.same_but_along(grid, axes[-1:]),
        ],
        "block_sparse": lambda: [torch.from_numpy(layer.mask_of(grid)[0].copy())],
    }[kind]()
    return torch.stack(masks).repeat_interleave(HEADS // len(masks), dim=0)


def expected_bias(layer, grid):
    """Of the heads with windows; other heads come after them and have none."""
    tables = [value for name, value in layer.named_parameters() if name.endswith("bias_table")]
    bias = torch.zeros(HEADS, math.prod(grid), math.prod(grid))
    for table in tables:
        rest = bias[len(table) :]
        bias = torch.cat([reference.window_bias(grid, table), rest])
    return bias


def values_and_gradients(out, tokens, layer):
    """The output, and what one random gradient of it becomes in tokens and parameters."""
    torch.manual_seed(2)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    back = torch.autograd.grad(out, (tokens, *parameters), torch.randn_like(out))
    return {"output": out, **dict(zip(("tokens", *names), back, strict=True))}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("layer_index", [0, 1])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_output_and_gradients_are_those_of_dense_attention_under_the_mask(
    kind, grid, layer_index, fused
):
    layer, tokens = layer_of(kind, grid, layer_index=layer_index), tokens_of(grid)
    layer.fused = fused
    mask, bias = expected_mask(kind, layer, grid, layer_index), expected_bias(layer, grid)
    found = values_and_gradients(layer(tokens, grid), tokens, layer)
    wanted = values_and_gradients(reference.dense(layer, tokens, mask, bias), tokens, layer)
    for name, value in wanted.items():
        size = max(1.0, float(value.detach().abs().max()))  # gradients are sums over all tokens
        torch.testing.assert_close(
            found[name] / size, value / size, **CLOSE, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("layer_index", [0, 1])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kind", [kind for kind in ATTENTIONS if kind != "block_sparse"])
def test_the_mask_that_a_layer_tells_is_the_one_worked_out_from_coordinates(
    kind, grid, layer_index
):
    layer = layer_of(kind, grid, layer_index=layer_index)
    wanted = expected_mask(kind, layer, grid, layer_index)
    assert (torch.from_numpy(layer.mask_of(grid).copy()) == wanted).all()


@pytest.mark.parametrize("layer_index", [0, 1])
@pytest.mark.parametrize("grid", [(5, 7, 9), (6, 10)], ids=str)
@pytest.mark.parametrize("kind", ["windowed", "window_grid", "block_sparse"])
def test_a_window_as_large_as_the_grid_is_dense_attention(kind, grid, layer_index):
    layer = layer_of(kind, grid, layer_index=layer_index, window=max(grid))
    dense, tokens = layer_of("dense", grid), tokens_of(grid)
    dense.load_state_dict(
        {name: value for name, value in layer.state_dict().items() if "bias_table" not in name}
    )
    for name, value in layer.named_parameters():
        if name.endswith("bias_table"):
            torch.nn.init.zeros_(value)
    assert layer.mask_of(grid).all()
    torch.testing.assert_close(layer(tokens, grid), dense(tokens, grid), **CLOSE)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(ATTENTIONS),
    grid=st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple),
    window=st.integers(1, 5),
    layer_index=st.integers(0, 3),
)
def test_no_grid_lets_padding_in(kind, grid, window, layer_index):
    layer = layer_of(kind, grid, layer_index=layer_index, window=window)
    tokens, mask = tokens_of(grid), torch.from_numpy(layer.mask_of(grid).copy())
    with torch.no_grad():
        bias = expected_bias(layer, grid)
        wanted = reference.dense(layer, tokens, mask, bias)
        torch.testing.assert_close(layer(tokens, grid), wanted, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(ATTENTIONS),
    grid=st.lists(st.integers(2, 6), min_size=2, max_size=3).map(tuple),
    query=st.integers(0, 2**30),
)
def test_what_a_token_does_not_see_changes_nothing_for_it(kind, grid, query):
    layer, tokens = layer_of(kind, grid), tokens_of(grid, batch=1).detach()
    query %= tokens.shape[1]
    hidden = torch.from_numpy(~layer.mask_of(grid)[:, query].any(0))
    other = torch.where(hidden[:, None], 1e3 * torch.randn_like(tokens), tokens)
    with torch.no_grad():
        before, after = layer(tokens, grid), layer(other, grid)
    torch.testing.assert_close(after[:, query], before[:, query], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [(5, 7, 9), (9, 4)], ids=str)
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_batch_is_its_rows(kind, grid):
    layer, tokens = layer_of(kind, grid, layer_index=1), tokens_of(grid, batch=3)
    rows = torch.cat([layer(row[None], grid) for row in tokens])
    torch.testing.assert_close(layer(tokens, grid), rows, **CLOSE)

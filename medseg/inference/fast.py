"""A copy of a network that gives the same logits sooner."""

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medseg.inference.fast_layers import FastGroupNorm, PackedLinear, Standardised, has_onednn
from medseg.networks.layers.resnetv2 import StdConv2d

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (*BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
         nn.InstanceNorm3d)  # fmt: skip
IDLE_IN_EVAL = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Prepared(nn.Module):
    """A prepared network; float32 in and out, whatever it computes in.

    Args:
        network: Copy that is run.
        dtype: What it computes in.
        autocast: Whether layers cast for themselves; else ``network`` itself is in ``dtype``.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, autocast: bool = False) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.autocast = autocast

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32, of images of shape (B, C, H, W) or (B, C, D, H, W)."""
        images = images if self.autocast else images.to(self.dtype)
        if images.ndim == 4 or (images.ndim == 5 and _turns_3d(self.dtype, self.autocast)):
            images = _channels_last(images)
        with torch.autocast(images.device.type, dtype=self.dtype, enabled=self.autocast):
            logits: torch.Tensor = self.network(images)
        return logits.float()


def prepare(
    network: nn.Module,
    *,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
    own_layers: bool = True,
) -> Prepared:
    """Copy a network for inference on the device it is on; ``network`` itself stays as it is.

    Standardised weights are computed once, a batch norm goes into the convolution before it, and
    2D weights and images are laid out with channels last; in half precision 3D ones as well, which
    gain nothing in float32. On a CPU linear layers and group norms give way to those of
    :mod:`medseg.inference.fast_layers`. Whatever has none of these patterns is copied as it is, as
    are layers with hooks or parametrisations.

    Args:
        network: Any network; the copy is in ``eval()`` and has no gradients.
        dtype: What the copy computes in.
        autocast: Leave the weights in float32 and let autocast pick the layers that run in
            ``dtype``: slower, but any network can do it.
        own_layers: Whether layers give way to ours, which a compiler cannot see into.
    """
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    _standardise(fast)
    _fold_batch_norms(fast)
    _lay_out(fast, torch.float32 if autocast else dtype, in_3d=_turns_3d(dtype, autocast))
    on_cpu = next(network.parameters(), torch.empty(0)).device.type == "cpu"
    if on_cpu and own_layers and not autocast:
        _replace_for_cpu(fast)
    return Prepared(fast, dtype, autocast=autocast).eval()


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    """Lay images out with channels last; of one channel, too, the strides must say so."""
    form = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    return torch.empty_like(images, memory_format=form).copy_(images)


def _turns_3d(dtype: torch.dtype, autocast: bool) -> bool:
    return dtype != torch.float32 and not autocast


def _standardise(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is StdConv2d and not _hooked(child):
                setattr(parent, name, Standardised(child))


def _fold_batch_norms(network: nn.Module) -> None:
    """Put each batch norm into the convolution just before it in the same chain of layers."""
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    chains = [list(_layers(module)) for module in network.modules() if _is_chain(module)]
    for chain in chains:
        active = [place for place in chain if type(place[0][place[1]]) not in IDLE_IN_EVAL]
        for (left, i), (right, j) in pairwise(active):
            conv: Any = left[i]
            norm: Any = right[j]
            if _fits(conv, norm) and uses[id(conv)] == uses[id(norm)] == 1:
                left[i] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, TRANSPOSED))
                right[j] = nn.Identity()


def _layers(chain: nn.Sequential) -> Iterator[tuple[nn.Sequential, int]]:
    """Where each layer of a chain stands; chains within it are gone through."""
    for index, layer in enumerate(chain):
        if _is_chain(layer):
            yield from _layers(layer)
        else:
            yield chain, index


def _is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether its children run one after another and nothing else happens."""
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return plain and not _hooked(module)


def _fits(conv: Any, norm: Any) -> bool:
    if _hooked(conv) or _hooked(norm) or type(norm) not in BATCH_NORMS:
        return False
    grouped = isinstance(conv, TRANSPOSED) and conv.groups > 1
    known = type(conv) in (*CONVS, *TRANSPOSED, Standardised)
    return known and not grouped and norm.track_running_stats


def _lay_out(network: nn.Module, dtype: torch.dtype, *, in_3d: bool) -> None:
    """Weights to ``dtype``, save those of norms, which are few; 2D ones with channels last."""
    forms = {4: torch.channels_last} | ({5: torch.channels_last_3d} if in_3d else {})
    for module in network.modules():
        kept = isinstance(module, NORMS)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point() and not kept:
                tensor.data = tensor.data.to(dtype)
            if tensor.ndim in forms:
                tensor.data = tensor.data.contiguous(memory_format=forms[tensor.ndim])


def _replace_for_cpu(network: nn.Module) -> None:
    packs = has_onednn()
    for parent in list(network.modules()):
        if type(parent).__module__.startswith("torch.") and not isinstance(parent, CONTAINERS):
            continue  # torch's own layers read the weights of their parts directly
        for name, child in list(parent.named_children()):
            if _hooked(child):
                continue
            if type(child) is nn.Linear and packs:
                setattr(parent, name, PackedLinear(child))
            elif isinstance(child, nn.GroupNorm):
                setattr(parent, name, FastGroupNorm(child))


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)

"""TIBA: relevance carried through the network to attention, weighted by gradients."""

import torch
from torch import nn
from torch.func import functional_call

from medseg.explain.flow import attend, by_number, gradients_by_layer
from medseg.explain.methods.attention_gradient import positive_product
from medseg.explain.options import Options
from medseg.explain.reading import reading_attention
from medseg.explain.relevance import RelevanceRules
from medseg.explain.targets import Target


def tiba(network: nn.Module, image: torch.Tensor, target: Target, options: Options) -> torch.Tensor:
    """Product over layers of I + mean over heads of (gradient · relevance) where positive.

    Relevance starts from the logits as the target's score counts them, 1 in all, and is carried
    through decoder and transformer. What a token keeps of itself past all attention is left out,
    so that the map of a segmentation is not its region again. Shape (B, *grid).

    Source:
        Chefer, Gur, Wolf: Transformer Interpretability Beyond Attention Visualization,
        arXiv:2012.09838; for a class token, equal to the published code.
    """
    attended = attend(network, image, target, options, gradients=True)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    with (
        reading_attention(network, options.most_bytes) as reading,
        torch.enable_grad(),
        RelevanceRules(),
    ):
        traced = image.detach().clone().requires_grad_()  # what depends on it is no weight
        logits = functional_call(network, weights, (traced,))
    relevance = gradients_by_layer(logits, reading, target.start(logits))
    products = by_number(positive_product, attended.gradients, relevance)
    return attended.rolled(attended.joined(products), options.layer)

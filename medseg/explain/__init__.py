"""What a network looks at: explanations of classifiers and segmentation networks."""

from medseg.explain.explain import explain_network, find_method, method_names
from medseg.explain.options import Options
from medseg.explain.targets import Target, channel_of

__all__ = ["Options", "Target", "channel_of", "explain_network", "find_method", "method_names"]

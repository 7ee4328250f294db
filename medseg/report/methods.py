"""What a map of each method says, and what it cannot say, for the reader of a page."""

OWN = "A method of this installation: its file in medseg/explain/methods says what it does."
PAST = "What goes past the transformer, as the skips of a U-shaped network, is not in it."

METHODS: dict[str, tuple[str, str]] = {
    "raw": (
        "Where the tokens of the target look in one layer, the last unless another is named.",
        "It says what is mixed there, not what decides: the layers after it and the decoder play "
        "no part, and neither does the organ's score.",
    ),
    "rollout": (
        "Attention of all layers multiplied, half of each token passing by every layer.",
        "The organ plays no part but for its place: another organ there would get the same map. "
        + PAST,
    ),
    "gradient_rollout": (
        "Rollout of attention weighted by how the organ's score changes with it, where it rises.",
        "A gradient knows small changes only. " + PAST,
    ),
    "attention_gradient": (
        "Product over layers of attention times the gradient of the organ's score, where positive.",
        "A gradient knows small changes only. " + PAST,
    ),
    "tiba": (
        "Relevance handed back from the organ's score through every layer, times the gradient, at "
        "the attention weights.",
        "As coarse as the tokens. " + PAST,
    ),
    "grad_cam": (
        "Features of one module, the coarsest unless another is named, each weighted by how the "
        "organ's score changes with it.",
        "As coarse as that module; what follows it is seen through its gradient alone.",
    ),
    "integrated_gradients": (
        "Gradients of the organ's score along the way from an empty image to this one, as size: "
        "what matters, be it for the organ or against it.",
        "Grainy: a single pixel says little.",
    ),
    "occlusion": (
        "How the organ's score falls when a patch of the image is covered.",
        "As coarse as the patch, and a covered patch is an image that the network never saw. "
        "Where the score rises nothing is coloured.",
    ),
    "random": (
        "Random numbers: no explanation at all, but the control.",
        "A method that is no better than this when it is measured says nothing.",
    ),
}


def meaning_of(method: str) -> tuple[str, str]:
    """What a map of this method says, and its limits."""
    return METHODS.get(method, (OWN, "Nothing is known of its limits here."))

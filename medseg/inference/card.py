"""What a model's card says of inference: activation and post-processing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import ModelError, UsageError
from medseg.inference.averaging import ACTIVATIONS
from medseg.inference.postprocess import Step
from medseg.model import ModelSpec


@dataclass(frozen=True)
class InferenceCard:
    """The ``inference`` part of a model's card, checked.

    Attributes:
        activation: ``"softmax"``, or ``"sigmoid"`` for classes that were each trained as a mask
            of its own; it matters only where probabilities are averaged or written.
        postprocessing: Organ → what is done to it; organs that are not named stay as they are.
    """

    activation: str = "softmax"
    postprocessing: Mapping[str, Step] = field(default_factory=dict)

    @classmethod
    def read(cls, spec: ModelSpec) -> "InferenceCard":
        """Check what the card says.

        Raises:
            ModelError: If it is not understood.
        """
        plain = dict(spec.inference)
        activation, steps = plain.pop("activation", "softmax"), plain.pop("postprocessing", {})
        if plain:
            raise ModelError(f"model card: inference: {', '.join(plain)} unknown; update medseg")
        if activation not in ACTIVATIONS:
            raise ModelError(
                f"model card: activation: expected {' or '.join(ACTIVATIONS)}, got {activation!r}"
            )
        return cls(activation, _steps(steps, spec))


def _steps(plain: Any, spec: ModelSpec) -> dict[str, Step]:
    try:
        steps = {str(organ): Step(**step) for organ, step in plain.items()}
    except (TypeError, ValueError, AttributeError, UsageError) as error:
        raise ModelError(f"model card: postprocessing: {error}") from error
    strange = [organ for organ in steps if organ not in spec.labels]
    if strange:
        raise ModelError(f"model card: postprocessing: no organ named {', '.join(strange)}")
    return steps

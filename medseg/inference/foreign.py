"""Bundles of others in a prediction job: checked and run by us, or run by MONAI on trust."""

from collections.abc import Sequence
from pathlib import Path

from medseg.bundles.config import NotAllowedError
from medseg.bundles.run import BundleRunner
from medseg.bundles.trusted import TrustedRunner
from medseg.errors import UsageError
from medseg.inference.path import Path as NetworkPath
from medseg.inference.predictor import PredictSettings, pick_device
from medseg.volumes import Volume


class ForeignPredictor:
    """Predicts volumes with a bundle of others.

    Args:
        folder: The bundle.
        settings: ``device`` and ``trust`` matter here.

    Attributes:
        labels: Organ → value in the label maps.
        network_name: Dotted path of the network.
        device: Where it runs.
        path: ``None``: the network is run as it is.

    Raises:
        NotAllowedError: If the bundle names more than the allow-list holds and is not trusted.
        ModelError: If it is damaged.
        UsageError: If the device is not there.
    """

    path: NetworkPath | None = None

    def __init__(self, folder: Path, settings: PredictSettings) -> None:
        self.device = pick_device(settings.device)
        self._runner: BundleRunner | TrustedRunner
        try:
            self._runner = BundleRunner(folder, self.device)
        except NotAllowedError:
            if not settings.trust:
                raise
            self._runner = TrustedRunner(folder)
        self.labels, self.network_name = self._runner.labels, self._runner.network_name

    def __call__(self, volume: Volume, probabilities: Path | None = None) -> Volume:
        """Label map of a volume on its own grid.

        Raises:
            UsageError: If probabilities are asked for.
        """
        if probabilities is not None:
            raise UsageError("--probabilities: bundles of others give label maps alone")
        return self._runner(volume)


def check_settings(models: Sequence[Path], settings: PredictSettings) -> None:
    """Refuse what cannot be done with a bundle that says itself how it is run.

    Raises:
        UsageError: Naming the option.
    """
    if len(models) > 1:
        raise UsageError("bundles of others are not averaged: give one of them, and no other model")
    refused = {
        "--max-memory": settings.max_memory_gb is not None,
        "--overlap": settings.overlap is not None,
        "--tta": settings.tta != "none",
        "--compile": settings.compile,
        "--precision": settings.precision not in ("auto", "float32"),
        "--probabilities": "probabilities" in settings.extras,
    }
    for option, given in refused.items():
        if given:
            raise UsageError(
                f"{option}: a bundle of others says itself how it is run; leave it out"
            )

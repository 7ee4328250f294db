"""Deletion and insertion curves of all methods as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medseg.files import atomic_path

CONTROL = "random"


def draw_curves(path: Path, result: Mapping[str, Any]) -> None:
    """Draw the mean curves of each method; of a right map deletion falls and insertion rises early.

    Args:
        path: PNG to write.
        result: What :func:`medseg.explaining.compare.compare_methods` gives.
    """
    figure = Figure((10, 4.2), 110)
    FigureCanvasAgg(figure)
    for axes, kind in zip(
        figure.subplots(1, 2, sharey=True), ("deletion", "insertion"), strict=True
    ):
        for method, summary in result["methods"].items():
            own = [one[kind] for one in result["measured"] if one["method"] == method]
            mean = np.mean(own, axis=0)
            control = method == CONTROL
            axes.plot(
                np.linspace(0, 1, len(mean)), mean, color="black" if control else None,
                linestyle="--" if control else "-",
                label=f"{method} ({summary[kind]['mean']:.2f})",
            )  # fmt: skip
        axes.set_title(f"{kind} (area)")
        axes.set_xlabel("share of pixels " + ("covered" if kind == "deletion" else "shown"))
        axes.legend(fontsize=7, frameon=False)
    figure.axes[0].set_ylabel("mean probability of the organ in its region")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)

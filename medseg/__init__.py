"""Segment organs in CT and MRI, and trust the figures that come out.

The verbs of the command line are functions here too: ``medseg.train(...)``,
``medseg.predict(...)``, ``medseg.evaluate(...)``, and so on. Each is imported when first used,
so that ``import medseg`` costs nothing.

Some verbs share their name with a module (``medseg.report``). As an attribute the name is the verb;
the module is reached by importing from it: ``from medseg.report.report import report``.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "info": "medseg.info",
    "check": "medseg.datasets.check",
    "demo": "medseg.demo",
    "train": "medseg.config",
    "convert_weights": "medseg.convert",
    "predict": "medseg.inference.predict",
    "choose_postprocessing": "medseg.choose_postprocessing",
    "evaluate": "medseg.evaluation.evaluate",
    "compare": "medseg.evaluation.compare",
    "roc": "medseg.roc",
    "explain": "medseg.explaining.explain",
    "report": "medseg.report.report",
    "preview": "medseg.preview",
    "view": "medseg.view.view",
    "export": "medseg.export.export",
    "verify": "medseg.export.export",
    "plan": "medseg.plan.plan",
}


def __getattr__(name: str) -> Any:
    """Import a verb when it is first asked for."""
    if name not in _VERBS:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(importlib.import_module(_VERBS[name]), name)


def __dir__() -> list[str]:
    """Name the verbs, imported or not."""
    return [*globals(), *_VERBS]


class _Package(ModuleType):
    """Keeps the name of a verb for the verb when a module of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _VERBS or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

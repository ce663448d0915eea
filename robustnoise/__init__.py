"""robustnoise evaluates defenses of neural classifiers against black-box adversarial attacks.

>>> import robustnoise as rn
>>> round(rn.Linf(8 / 255).eps, 4)
0.0314

Importing this loads neither torch nor pandas; names are imported at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_LAZY = {
    "Access": "threat",
    "Audit": "report.audit",
    "Budget": "threat",
    "Certificates": "certificates",
    "Comparison": "evaluation",
    "Context": "protocols",
    "EvaluationRecord": "records",
    "L2": "threat",
    "Leaderboard": "leaderboard",
    "Linf": "threat",
    "SplitSizes": "data",
    "ThreatModel": "threat",
    "audit": "evaluation",
    "build": "building",
    "certify": "evaluation",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "load_dataset": "data",
    "to_art": "models.export",
    "to_foolbox": "models.export",
}
_MODULES = ("data", "errors", "models", "registry")

if TYPE_CHECKING:
    from robustnoise import data as data
    from robustnoise import errors as errors
    from robustnoise import models as models
    from robustnoise import registry as registry
    from robustnoise.building import build as build
    from robustnoise.certificates import Certificates as Certificates
    from robustnoise.data import SplitSizes as SplitSizes
    from robustnoise.data import load_dataset as load_dataset
    from robustnoise.evaluation import Comparison as Comparison
    from robustnoise.evaluation import audit as audit
    from robustnoise.evaluation import certify as certify
    from robustnoise.evaluation import compare as compare
    from robustnoise.evaluation import evaluate as evaluate
    from robustnoise.leaderboard import Leaderboard as Leaderboard
    from robustnoise.models.export import to_art as to_art
    from robustnoise.models.export import to_foolbox as to_foolbox
    from robustnoise.protocols import Context as Context
    from robustnoise.records import EvaluationRecord as EvaluationRecord
    from robustnoise.report.audit import Audit as Audit
    from robustnoise.threat import L2 as L2
    from robustnoise.threat import Access as Access
    from robustnoise.threat import Budget as Budget
    from robustnoise.threat import Linf as Linf
    from robustnoise.threat import ThreatModel as ThreatModel

__all__ = [*_LAZY, *_MODULES, "__version__"]  # noqa: PLE0604 - names of a literal


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"robustnoise.{name}")
    if name in _LAZY:
        found = getattr(importlib.import_module(f"robustnoise.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'robustnoise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Everything that a plugin may import, and nothing else.

A plugin is a frozen dataclass based on `Defense`, `BlackBoxAttack`, `Crafter`, `Substitute` or `Model`; its package
points the entry point ``robustnoise.plugins`` at a table ``PLUGINS = {"name": "module:Class"}``. See docs/plugins.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from robustnoise.blocks import BLOCK, predict_blocks, to_tensor
from robustnoise.compose import Defense, Identity
from robustnoise.data import Split
from robustnoise.errors import (
    AttackFailed,
    BadData,
    BadParameter,
    BudgetExceeded,
    MissingCapability,
    MissingExtra,
    RobustnoiseError,
    did_you_mean,
)
from robustnoise.foreign import import_quietly, seeded_globals
from robustnoise.models.classifier import InputWrapper, LayerWrapper, TorchClassifier, Wrapper, answer_from_logits
from robustnoise.models.export import to_art, to_foolbox
from robustnoise.models.files import load_classifier
from robustnoise.models.fresh import create as create_model
from robustnoise.protocols import (
    Answer,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Classifier,
    Context,
    Crafter,
    DefenseTraits,
    Differentiable,
    FittedSubstitute,
    Model,
    Modular,
    Oracle,
    Stage,
    Substitute,
    Targets,
    require_differentiable,
    require_modular,
)
from robustnoise.registry import build, create
from robustnoise.seeds import SeedStream
from robustnoise.spec import Number, Plugin, Scalar, parse_options
from robustnoise.threat import L2, Access, Linf, Norm, ThreatModel
from robustnoise.training import ForwardHook, InputHook, LeadingTraining, Schedule, as_floats, fit


def lazy_attribute(package: str, table: Mapping[str, str], name: str) -> object:
    """The plugin class `name` of a package, imported at its first use.

    Called from the package's module ``__getattr__``, it makes ``from my_package import MyDefense`` work without
    importing every module of the package.

    Raises:
        AttributeError: the table has no class of that name.
    """
    for target in table.values():
        module, _, attribute = target.partition(":")
        if attribute == name:
            return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


__all__ = [
    "BLOCK",
    "L2",
    "Access",
    "Answer",
    "AttackFailed",
    "AttackResult",
    "AttackTraits",
    "BadData",
    "BadParameter",
    "BlackBoxAttack",
    "BudgetExceeded",
    "Classifier",
    "Context",
    "Crafter",
    "Defense",
    "DefenseTraits",
    "Differentiable",
    "FittedSubstitute",
    "ForwardHook",
    "Identity",
    "InputHook",
    "InputWrapper",
    "LayerWrapper",
    "LeadingTraining",
    "Linf",
    "MissingCapability",
    "MissingExtra",
    "Model",
    "Modular",
    "Norm",
    "Number",
    "Oracle",
    "Plugin",
    "RobustnoiseError",
    "Scalar",
    "Schedule",
    "SeedStream",
    "Split",
    "Stage",
    "Substitute",
    "Targets",
    "ThreatModel",
    "TorchClassifier",
    "Wrapper",
    "answer_from_logits",
    "as_floats",
    "build",
    "create",
    "create_model",
    "did_you_mean",
    "fit",
    "import_quietly",
    "lazy_attribute",
    "load_classifier",
    "parse_options",
    "predict_blocks",
    "require_differentiable",
    "require_modular",
    "seeded_globals",
    "to_art",
    "to_foolbox",
    "to_tensor",
]

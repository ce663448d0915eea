"""Everything that a plugin may import, and nothing else.

A plugin is a frozen dataclass based on `Defense`, `BlackBoxAttack`, `Crafter`, `Substitute` or `Model`; its package
points the entry point ``robustnoise.plugins`` at a table ``PLUGINS = {"name": "module:Class"}``. See docs/plugins.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from robustnoise.blocks import BLOCK, predict_blocks, to_tensor
from robustnoise.building import build, build_call, create
from robustnoise.compose import Defense, Identity, Preparing
from robustnoise.data import Split
from robustnoise.errors import (
    AttackFailed,
    BadData,
    BadParameter,
    BudgetExceeded,
    MissingCapability,
    MissingExtra,
    RobustnoiseError,
    TargetFailed,
    did_you_mean,
)
from robustnoise.foreign import import_quietly, seeded_globals
from robustnoise.models.classifier import (
    InputWrapper,
    LayerWrapper,
    TorchClassifier,
    Wrapper,
    answer_from_logits,
    repeating,
)
from robustnoise.models.ensemble import Combine, Ensemble
from robustnoise.models.export import to_art, to_foolbox
from robustnoise.models.files import classifier_from_bytes, load_classifier, read_regular
from robustnoise.models.fresh import create as create_model
from robustnoise.models.lowered import Lowered
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
    Ensembled,
    Model,
    Modular,
    Oracle,
    Smoothed,
    Softened,
    Stage,
    Substitute,
    Targets,
    require_differentiable,
    require_modular,
)
from robustnoise.recipes import Recipe
from robustnoise.registry import registry
from robustnoise.seeds import SeedStream
from robustnoise.spec import Call, LaterField, Number, Plugin, Scalar, parse_options
from robustnoise.threat import L2, Access, Linf, Norm, ThreatModel
from robustnoise.training import (
    Batch,
    Forward,
    ForwardHook,
    Hook,
    InputHook,
    LeadingTraining,
    LossHook,
    ReplayHook,
    Schedule,
    WeightHook,
    as_floats,
    evaluating,
    fit,
)


def lazy_attribute(package: str, table: Mapping[str, str], name: str) -> object:
    """The plugin class or recipe `name` of a package, imported at its first use.

    Called from the package's module ``__getattr__``, it makes ``from my_package import MyDefense`` work without
    importing every module of the package. A recipe bears its name in capitals without hyphens and is called like a
    class: ``MIFGSM(steps=20)`` for ``mi-fgsm(steps=20)``.

    Raises:
        AttributeError: the package has no class and no recipe of that name.
    """
    for target in table.values():
        module, _, attribute = target.partition(":")
        if attribute == name:
            return getattr(importlib.import_module(module), attribute)
    # No other name can be a recipe's, and most of those that Python asks a package for are dunders.
    for recipe in registry().recipes() if name.isupper() and name.isalnum() else ():
        if (recipe.package, recipe.attribute) == (package, name):
            return _constructor(recipe)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def _constructor(recipe: Recipe) -> Callable[..., Plugin]:
    def construct(*values: object, **params: object) -> Plugin:
        made: Plugin = build_call(Call(recipe.name, values, params))
        return made

    construct.__name__ = construct.__qualname__ = recipe.attribute
    construct.__doc__ = f"{recipe.plugin} as in {recipe.reference}; it takes the parameters of {recipe.plugin}."
    return construct


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
    "Batch",
    "BlackBoxAttack",
    "BudgetExceeded",
    "Classifier",
    "Combine",
    "Context",
    "Crafter",
    "Defense",
    "DefenseTraits",
    "Differentiable",
    "Ensemble",
    "Ensembled",
    "Forward",
    "ForwardHook",
    "Hook",
    "Identity",
    "InputHook",
    "InputWrapper",
    "LaterField",
    "LayerWrapper",
    "LeadingTraining",
    "Linf",
    "LossHook",
    "Lowered",
    "MissingCapability",
    "MissingExtra",
    "Model",
    "Modular",
    "Norm",
    "Number",
    "Oracle",
    "Plugin",
    "Preparing",
    "ReplayHook",
    "RobustnoiseError",
    "Scalar",
    "Schedule",
    "SeedStream",
    "Smoothed",
    "Softened",
    "Split",
    "Stage",
    "Substitute",
    "TargetFailed",
    "Targets",
    "ThreatModel",
    "TorchClassifier",
    "WeightHook",
    "Wrapper",
    "answer_from_logits",
    "as_floats",
    "build",
    "classifier_from_bytes",
    "create",
    "create_model",
    "did_you_mean",
    "evaluating",
    "fit",
    "import_quietly",
    "lazy_attribute",
    "load_classifier",
    "parse_options",
    "predict_blocks",
    "read_regular",
    "repeating",
    "require_differentiable",
    "require_modular",
    "seeded_globals",
    "to_art",
    "to_foolbox",
    "to_tensor",
]

"""What the parts of robustnoise promise each other.

Images are float32 (n, C, H, W) in [0, 1]; labels int64 (n,); normalisation sits inside the model. Every call that may
be random takes a `SeedStream` and draws from nothing else.
"""

from robustnoise.protocols.attacking import (
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Crafter,
    Oracle,
    Substitute,
    Targets,
    TwoStage,
    WhiteBox,
)
from robustnoise.protocols.classifiers import (
    Answer,
    Classifier,
    Differentiable,
    Ensembled,
    Modular,
    Smoothed,
    Softened,
    access_of,
    require_differentiable,
    require_modular,
)
from robustnoise.protocols.context import Context, Meter, Progress, Silent
from robustnoise.protocols.defending import DefenseTraits, Model, Stage

__all__ = [
    "Answer",
    "AttackResult",
    "AttackTraits",
    "BlackBoxAttack",
    "Classifier",
    "Context",
    "Crafter",
    "DefenseTraits",
    "Differentiable",
    "Ensembled",
    "Meter",
    "Model",
    "Modular",
    "Oracle",
    "Progress",
    "Silent",
    "Smoothed",
    "Softened",
    "Stage",
    "Substitute",
    "Targets",
    "TwoStage",
    "WhiteBox",
    "access_of",
    "require_differentiable",
    "require_modular",
]

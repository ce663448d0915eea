"""Reference networks by name, and the classifier around a torch module."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustnoise.models.classifier import TorchClassifier as TorchClassifier
    from robustnoise.models.classifier import Wrapper as Wrapper
    from robustnoise.models.files import load_classifier as load_classifier
    from robustnoise.models.files import save_classifier as save_classifier
    from robustnoise.models.fresh import create as create

PLUGINS = {
    "madry-mnist": "robustnoise.models.nets:MadryMNIST",
    "mlp": "robustnoise.models.nets:MLP",
    "norm-cnn": "robustnoise.models.nets:NormCNN",
    "resnet9": "robustnoise.models.nets:ResNet9",
    "small-cnn": "robustnoise.models.nets:SmallCNN",
    "stroke-lstm": "robustnoise.models.recurrent:StrokeLSTM",
}

_LAZY = {
    "TorchClassifier": "classifier",
    "Wrapper": "classifier",
    "create": "fresh",
    "load_classifier": "files",
    "save_classifier": "files",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

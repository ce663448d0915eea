"""Reference networks by name, the classifier around a torch module, and classifiers that people bring."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustnoise.models.classifier import TorchClassifier as TorchClassifier
    from robustnoise.models.classifier import Wrapper as Wrapper
    from robustnoise.models.files import load_classifier as load_classifier
    from robustnoise.models.files import save_classifier as save_classifier
    from robustnoise.models.fresh import create as create
    from robustnoise.models.targets.art_model import from_art as from_art
    from robustnoise.models.targets.estimator import from_sklearn as from_sklearn
    from robustnoise.models.targets.factory import from_factory as from_factory
    from robustnoise.models.targets.foolbox_model import from_foolbox as from_foolbox
    from robustnoise.models.targets.function import from_callable as from_callable
    from robustnoise.models.targets.http_target import from_http as from_http
    from robustnoise.models.targets.onnx_file import from_onnx as from_onnx
    from robustnoise.models.targets.torch_module import from_torch as from_torch

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
    "from_art": "targets.art_model",
    "from_callable": "targets.function",
    "from_factory": "targets.factory",
    "from_foolbox": "targets.foolbox_model",
    "from_http": "targets.http_target",
    "from_onnx": "targets.onnx_file",
    "from_sklearn": "targets.estimator",
    "from_torch": "targets.torch_module",
    "load_classifier": "files",
    "save_classifier": "files",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

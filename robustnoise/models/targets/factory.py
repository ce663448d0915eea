"""``module:function`` or ``path.py:function``: code that makes a network, with weights from safetensors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from robustnoise.errors import BadData, BadParameter
from robustnoise.foreign import seeded_globals
from robustnoise.models.files import MAX_BYTES
from robustnoise.models.targets.torch_module import from_torch
from robustnoise.protocols import Classifier
from robustnoise.regular import read_regular
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of


def from_factory(
    factory: str,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    folder: Path | None = None,
    weights: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Classifier:
    """A classifier from a function without parameters that is named by text. This runs the code that it names.

    Args:
        factory: ``"package.module:function"`` on the import path, or ``"path/to/file.py:function"``. It returns a
            network of logits, see `from_torch`, or a ready classifier, such as one of `from_callable`.
        input_shape: (C, H, W).
        num_classes: at least 2.
        folder: that the paths of both are relative to; None is the working folder.
        weights: a safetensors file with the network's state; None takes the network as it is made.
        mean: (C,) of the training images, pixels in [0, 1].
        std: (C,) likewise, above 0.

    Raises:
        BadParameter: there is no such function, it fails, or what it makes doesn't fit.
        BadData: the weights are absent, damaged, or of another network.
    """
    folder = folder or Path()
    function = _function(factory, folder)
    try:
        with seeded_globals(SeedStream(0, ("factory", factory)).seed("global")):
            made = function()
    except Exception as error:
        raise BadParameter(f"{factory} failed: {type(error).__name__}: {error}.") from error
    if isinstance(made, nn.Module):
        if weights is not None:
            _load(made, folder / weights)
        classifier = from_torch(made, input_shape=input_shape, num_classes=num_classes, mean=mean, std=std)
        # What the layers call lies in the same file.
        classifier.module.code = digest_of([classifier.module.code, _file_hash(factory, folder)])
        return classifier
    if not isinstance(made, Classifier):
        raise BadParameter(f"{factory} returned {type(made).__name__}: expected a torch.nn.Module or a classifier.")
    if weights is not None or mean is not None or std is not None:
        raise BadParameter(
            f"{factory} returned a ready classifier, so weights, mean and std have no use; leave them out."
        )
    if (tuple(made.input_shape), made.num_classes) != (tuple(input_shape), num_classes):
        raise BadParameter(
            f"{factory} returned a classifier of {made.num_classes} classes for images {tuple(made.input_shape)}; "
            f"expected {num_classes} classes and images {tuple(input_shape)}."
        )
    return made


def _file_hash(factory: str, folder: Path) -> str | None:
    place = factory.rpartition(":")[0]
    return hashlib.sha256((folder / place).read_bytes()).hexdigest() if place.endswith(".py") else None


def _function(factory: str, folder: Path) -> Callable[[], Any]:
    place, _, name = factory.rpartition(":")
    module = _from_file(folder / place) if place.endswith(".py") else _from_path(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise BadParameter(f"{factory}: {place} has no function {name!r}.")
    return function  # type: ignore[no-any-return]


def _from_path(name: str) -> ModuleType:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise BadParameter(f"{name!r} is no module: expected package.module:function or path/to/file.py:function.")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise BadParameter(f"module {name!r} can't be imported: {type(error).__name__}: {error}.") from error


def _from_file(path: Path) -> ModuleType:
    try:
        code = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadParameter(f"{path}: {error.strerror}. Expected a Python file.") from None
    # The hash keeps two files of one name apart, and two versions of one file.
    name = f"robustnoise_target_{path.stem}_{code[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise BadParameter(f"{path} failed: {type(error).__name__}: {error}.") from error
        _pickle_by_value(module)
    return sys.modules[name]


def _pickle_by_value(module: ModuleType) -> None:
    """Let its classes travel whole to worker processes, which can't import it by name."""
    # joblib brings cloudpickle inside itself, or from 1.6 on beside itself.
    for name in ("joblib.externals.cloudpickle", "cloudpickle"):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).register_pickle_by_value(module)


def _load(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load(read_regular(path, MAX_BYTES)))
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}. Expected a safetensors file.") from None
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadData(f"{path}: not the weights of {type(network).__name__}: {reason}.") from None

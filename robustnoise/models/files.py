"""Classifiers as safetensors files: weights and the architecture that takes them; no pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from robustnoise import building, regular, tensorfile
from robustnoise.building import spec_of
from robustnoise.errors import BadData, BadParameter, RobustnoiseError, told
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.fresh import give_storage
from robustnoise.store import atomic_write

FORMAT = "robustnoise-classifier-1"
MAX_BYTES = 4 << 30
"""Of a file of weights."""
MOST = 1_000_000
"""Classes, or pixels of a side."""


def classifier_bytes(classifier: TorchClassifier) -> bytes:
    """The file's content; the same weights give the same bytes.

    Raises:
        BadParameter: the architecture is not a registered one, so the file could not be read back.
    """
    if classifier.architecture is None:
        raise BadParameter(
            "a classifier without a registered architecture can't be stored; build it from a Model plugin."
        )
    header = {
        "architecture": spec_of(classifier.architecture).to_json(),
        "input_shape": list(classifier.input_shape),
        "num_classes": classifier.num_classes,
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in classifier.module.state_dict().items()}
    return tensorfile.ordered(
        save(tensors, metadata={"format": FORMAT, "classifier": json.dumps(header, sort_keys=True)})
    )


def save_classifier(classifier: TorchClassifier, path: str | Path) -> None:
    """Write `classifier` to `path`, whole or not at all."""
    atomic_write(Path(path), classifier_bytes(classifier))


def read_regular(path: str | Path) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`; never waits at a pipe or reads a device.

    Raises:
        BadData: it is absent, something else, or too large.
    """
    try:
        return regular.read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: {getattr(error, 'strerror', error)}. Expected a file of save_classifier.") from None


def load_classifier(path: str | Path) -> TorchClassifier:
    """Read a file of `save_classifier`.

    Raises:
        BadData: it is absent, damaged, of another format, or its weights don't fit its architecture.
    """
    content = read_regular(path)
    try:
        return classifier_from_bytes(content)
    except BadData as error:
        raise BadData(f"{path}: {error}") from None


def classifier_from_bytes(content: bytes) -> TorchClassifier:
    """The inverse of `classifier_bytes`.

    Raises:
        BadData: damaged, of another format, or the weights don't fit the architecture.
    """
    try:
        tensors = load(content)
        metadata = tensorfile.metadata(content)
        if metadata.get("format") != FORMAT:
            raise BadData(
                f"format {told(metadata.get('format'), 60)!r}; expected {FORMAT!r}, as save_classifier writes it. The "
                "weights of a network of your own go with the code that makes it: --target FILE.py:FUNCTION --option "
                "weights=FILE (docs/targets.md)."
            )
        header = json.loads(metadata["classifier"])
        architecture = building.from_json(header["architecture"])
        channels, height, width = (_count(n, "input_shape", 1) for n in header["input_shape"])
        shape, classes = (channels, height, width), _count(header["num_classes"], "num_classes", 2)
        with torch.device("meta"):
            module = architecture.build(shape, classes)
        wanted = {k: v.shape for k, v in module.state_dict().items()}
        if wanted != {k: v.shape for k, v in tensors.items()}:
            raise BadData("its weights don't fit its architecture.")  # before memory is taken for them
        give_storage(module)
        module.load_state_dict(tensors)
    except BadData:
        raise
    except RobustnoiseError as error:
        raise BadData(f"its architecture can't be built: {told(error, 1000)}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, AttributeError, RuntimeError) as error:
        raise BadData(f"not a classifier of robustnoise: {told(error)}.") from None
    # As they are used: a float64 may be finite in the file alone.
    if not all(bool(torch.isfinite(t).all()) for t in module.state_dict().values() if t.is_floating_point()):
        raise BadData("the weights hold NaN or infinite values.")
    return TorchClassifier(module, shape, classes, architecture)


def _count(value: object, what: str, least: int) -> int:
    if type(value) is not int or not least <= value <= MOST:
        raise BadData(f"{what} holds {str(value)[:40]!r}; expected whole numbers from {least} to {MOST:,}.")
    return value

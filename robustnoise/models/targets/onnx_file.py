"""An ONNX file as a classifier, run by onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustnoise.errors import BadData, BadParameter, RobustnoiseError
from robustnoise.extras import require
from robustnoise.models.files import MAX_BYTES
from robustnoise.models.targets.base import Array, Output, Target, check_shape
from robustnoise.models.targets.torch_module import channel_values
from robustnoise.regular import read_regular

INSTALL = "robustnoise[onnx]"
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class OnnxTarget(Target):
    """See `from_onnx`."""

    def __init__(
        self,
        content: bytes,
        origin: str,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        output: Output,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        output_name: str | None,
    ) -> None:
        self.normalisation = channel_values(mean, std, check_shape(input_shape)[0])
        # As given, not as the float32 that is computed with; an array has no truth value, and its numbers no JSON.
        given = [None if values is None else [float(v) for v in values] for values in (mean, std)]
        identity = [hashlib.sha256(content).hexdigest(), *given, output_name]
        super().__init__(identity=identity, input_shape=input_shape, num_classes=num_classes, output=output)
        self._content = content
        self._session: Any = None
        self._threads = 0
        session = self._opened()
        takes = session.get_inputs()
        if len(takes) != 1 or takes[0].type not in TYPES or len(takes[0].shape) != 4:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in takes)
            raise BadParameter(f"{origin}: takes {found}; expected one tensor of images (n, C, H, W).")
        fixed = [(a, b) for a, b in zip(takes[0].shape[1:], input_shape, strict=True) if isinstance(a, int)]
        if any(a != b for a, b in fixed):
            raise BadParameter(f"{origin}: takes images {takes[0].shape[1:]}; expected {list(input_shape)}.")
        self._input, self._type = takes[0].name, TYPES[takes[0].type]
        self._rows: int | None = takes[0].shape[0] if isinstance(takes[0].shape[0], int) else None
        names = [o.name for o in session.get_outputs()]
        if output_name is not None and output_name not in names:
            raise BadParameter(f"{origin}: output_name = {output_name!r}; its outputs are {', '.join(names)}.")
        self._output = output_name or names[0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_session": None}

    def _opened(self) -> Any:
        threads = torch.get_num_threads()
        if self._session is None or self._threads != threads:
            runtime = require("onnxruntime", purpose="an ONNX target", install=INSTALL)
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.log_severity_level = 3
            self._threads = threads
            self._session = runtime.InferenceSession(
                self._content, sess_options=options, providers=["CPUExecutionProvider"]
            )
        return self._session

    def ask(self, x: Array) -> Array:
        """What the network says; a fixed batch size is filled up with black images."""
        mean, std = self.normalisation
        if mean is not None and std is not None:
            x = (x - mean.numpy().reshape(-1, 1, 1)) / std.numpy().reshape(-1, 1, 1)
        rows = self._rows or len(x)
        said = []
        for start in range(0, len(x), rows or 1):
            part = x[start : start + rows]
            full = np.zeros((rows, *part.shape[1:]), self._type)
            full[: len(part)] = part
            (found,) = self._opened().run([self._output], {self._input: full})
            said.append(np.asarray(found)[: len(part)])
        return np.concatenate(said) if said else np.zeros((0, self.num_classes), np.float32)


def from_onnx(
    path: str | Path,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    output: Output = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output_name: str | None = None,
) -> OnnxTarget:
    """A classifier from an ONNX file; its digest is that of the file.

    The file is read once and must be whole: tensors kept in other files are refused, so it can't name any file to open.
    It runs on the CPU with torch's number of threads.

    Args:
        path: one float input (n, C, H, W); n may be fixed.
        input_shape: (C, H, W).
        num_classes: at least 2.
        output: what the file answers: ``"logits"``, ``"probabilities"`` or ``"labels"``.
        mean: (C,) subtracted from pixels in [0, 1] where the file takes normalised images.
        std: (C,) that they are divided by, above 0.
        output_name: which output; None is the first.

    Raises:
        BadData: the file is absent, damaged or refers to other files.
        BadParameter: it takes or answers something else.
        MissingExtra: onnx or onnxruntime isn't installed.
    """
    try:
        content = read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: {getattr(error, 'strerror', error)}. Expected an ONNX file.") from None
    _refuse_external(content, str(path))
    try:
        return OnnxTarget(
            content, str(path), input_shape=input_shape, num_classes=num_classes, output=output, mean=mean, std=std,
            output_name=output_name,
        )  # fmt: skip
    except RobustnoiseError:
        raise
    except Exception as error:  # noqa: BLE001 - onnxruntime has errors of its own, and breaks on their text
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise BadData(f"{path}: onnxruntime can't load it: {reason}") from None


def _refuse_external(content: bytes, origin: str) -> None:
    onnx = require("onnx", purpose="an ONNX target", install=INSTALL)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001 - protobuf has errors of its own
        raise BadData(f"{origin}: not an ONNX file: {type(error).__name__}.") from None
    for tensor in _tensors(model, onnx.TensorProto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise BadData(
                f"{origin}: tensor {tensor.name!r} lies in another file. Save the model as one file: "
                "onnx.save(onnx.load(path), whole, save_as_external_data=False)."
            )


def _tensors(message: Any, kind: type) -> Iterator[Any]:
    """Every tensor of a model, those in subgraphs, attributes and functions included."""
    waiting = [message]
    while waiting:
        now = waiting.pop()
        if isinstance(now, kind):
            yield now
            continue
        for field, value in now.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else list(value)

"""A target as it is written on a command line or a board: a text and options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from robustnoise.errors import BadData, BadParameter, did_you_mean
from robustnoise.models.files import load_classifier
from robustnoise.models.targets.address import check_auth, check_url
from robustnoise.models.targets.base import ACCESS
from robustnoise.models.targets.factory import from_factory
from robustnoise.models.targets.http_target import from_http
from robustnoise.models.targets.onnx_file import from_onnx
from robustnoise.protocols import Classifier
from robustnoise.threat import Access

KINDS = "onnx:FILE, http://... or https://..., FILE.safetensors of save_classifier, MODULE:FACTORY or FILE.py:FACTORY"
OPTIONS = {
    "onnx": ("output", "mean", "std", "output_name"),
    "http": (
        "name", "output", "max_rows", "journal", "codec", "batch", "stochastic", "auth_env", "auth_header", "timeout",
        "retries", "requests_per_second",
    ),
    "file": (),
    "factory": ("weights", "mean", "std"),
}  # fmt: skip
UNRECORDED = ("max_rows", "journal", "codec", "batch", "auth_env", "auth_header", "timeout", "retries",
              "requests_per_second")  # fmt: skip
"""Options that decide how an endpoint is asked and not what it answers."""


@dataclass(frozen=True)
class TargetText:
    """A target by name; nothing is opened, sent or run before `build`.

    Args:
        text: one of `KINDS`.
        options: the arguments of the kind's function, such as ``from_onnx``, without shape and classes.

    Raises:
        BadParameter: of no kind, or an option that the kind doesn't have or that it needs and lacks.
    """

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allowed = OPTIONS[self.kind]
        for key in self.options:
            if key not in allowed:
                raise BadParameter(
                    f"target option {key!r}: a target of this kind ({self.kind}) takes {', '.join(allowed) or 'none'}."
                    f"{did_you_mean(key, allowed)}"
                )
        if self.kind == "http":
            check_url(self.text)
            check_auth(self.options.get("auth_env"), self.options.get("auth_header", "Authorization"))
            missing = [key for key in ("name", "output", "max_rows") if key not in self.options]
            if missing:
                raise BadParameter(f"an HTTP target needs the options {', '.join(missing)}; see docs/targets.md.")
        if self.options.get("output", "logits") not in list(ACCESS):
            raise BadParameter(f"target option output = {self.options['output']!r}: expected {', '.join(ACCESS)}.")

    @property
    def kind(self) -> str:
        """``"onnx"``, ``"http"``, ``"file"`` or ``"factory"``."""
        text = self.text
        if text.startswith("onnx:") and len(text) > 5:
            return "onnx"
        if re.match(r"https?://", text):
            return "http"
        if text.endswith(".safetensors") and ":" not in text:
            return "file"
        if re.fullmatch(r"([A-Za-z_][\w.]*|[^:]+\.py):[A-Za-z_]\w*", text):
            return "factory"
        # An address with a slip in it may hold a secret, so it isn't repeated.
        shown = "" if "//" in text or "@" in text else f" {text!r}"
        raise BadParameter(f"target{shown} is of no kind: expected {KINDS}.")

    @property
    def runs_code(self) -> bool:
        """Whether building it runs code that the text names."""
        return self.kind == "factory"

    @property
    def access(self) -> Access:
        """The most that it can answer, as far as the text tells."""
        if self.kind in ("file", "factory"):
            return Access.GRADIENTS
        return ACCESS[self.options.get("output", "logits")]

    def identity(self) -> dict[str, Any]:
        """For records: the text and the options that decide answers; nothing secret is ever in either."""
        return {"text": self.text, "options": {k: v for k, v in self.options.items() if k not in UNRECORDED}}

    def build(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        trust_code: bool = False,
        journals: Path | None = None,
        folder: Path | None = None,
    ) -> Classifier:
        """The classifier.

        Args:
            input_shape: (C, H, W) of the data.
            num_classes: of the data.
            trust_code: whether code that the text names may run.
            journals: the folder for an endpoint's journal where no option names one.
            folder: that paths are relative to; None is the working folder.

        Raises:
            BadParameter: an option is outside its range, the target doesn't fit the data, or code isn't trusted.
            BadData: a file is absent or damaged.
        """
        options, folder = dict(self.options), folder or Path()
        if self.kind == "file":
            return _stored(folder / self.text, input_shape, num_classes)
        if self.runs_code and not trust_code:
            raise BadParameter(
                f"target {self.text} runs code of that file or module: pass --trust-code if you trust it."
            )
        if self.kind == "http" and journals is not None:
            options.setdefault("journal", journals)
        if self.kind == "factory":
            options["folder"] = folder
        makers: dict[str, tuple[Callable[..., Classifier], str | Path]] = {
            "onnx": (from_onnx, folder / self.text.removeprefix("onnx:")),
            "http": (from_http, self.text),
            "factory": (from_factory, self.text),
        }
        make, first = makers[self.kind]
        typed = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(make)
        try:
            return typed(first, input_shape=input_shape, num_classes=num_classes, **options)
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"]))
            raise BadParameter(f"target option {key}: {wrong['msg']} (given: {wrong['input']!r}).") from None


def _stored(path: Path, input_shape: tuple[int, int, int], num_classes: int) -> Classifier:
    loaded = load_classifier(path)
    if (tuple(loaded.input_shape), loaded.num_classes) != (tuple(input_shape), num_classes):
        raise BadData(
            f"{path}: holds a classifier of {loaded.num_classes} classes for images {tuple(loaded.input_shape)}; the "
            f"data has {num_classes} classes and images {tuple(input_shape)}. Give the data that it is for (--data)."
        )
    return loaded

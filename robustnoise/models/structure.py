"""What a network of the user's own is beside its weights: code, and all that its parts were told.

Weights alone don't tell two networks apart: a factor in an attribute, the heads of an attention layer, a buffer that is
kept out of the state. Torch's printed structure shows some of it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise.spec import digest_of

OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has; weights, buffers and parts among them are looked at elsewhere."""
PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    list,
    tuple,
    dict,
    set,
    Tensor,
    np.ndarray,
    np.generic,
    torch.dtype,
    FunctionType,
)


def source_digest(network: nn.Module) -> str:
    """sha256 of the source of every class of layer that isn't torch's own; of its name where there is no source."""
    classes = {type(part) for part in network.modules() if not type(part).__module__.startswith("torch.")}
    sources = {}
    for cls in classes:
        name = f"{cls.__module__}.{cls.__qualname__}"
        try:
            sources[name] = inspect.getsource(cls)
        except (OSError, TypeError):
            sources[name] = ""
    return digest_of(sources)


def settings_digest(network: nn.Module) -> str:
    """sha256 of the attributes of every part that are no weights, and of buffers that are kept out of its state."""
    found = {}
    for name, part in network.named_modules():
        own = {key: value for key, value in vars(part).items() if key not in OF_TORCH}
        unsaved = {key: part._buffers[key] for key in part._non_persistent_buffers_set}
        found[name] = _plain([type(part), own, unsaved])
    return digest_of(found)


def _plain(value: Any, above: frozenset[int] = frozenset()) -> Any:
    """JSON that tells `value` from others, the same in every process; `above` are the ids of what holds it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | complex | bytes | torch.dtype | torch.device | np.dtype):
        return repr(value)
    if isinstance(value, type | ModuleType):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8) if value.numel() else torch.empty(0)
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw.numpy().tobytes()).hexdigest()]
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if id(value) in above:
        return "above"
    return [_plain(type(value)), *(_plain(part, above | {id(value)}) for part in _parts(value))]


def _parts(value: Any) -> list[Any]:
    """What an object consists of."""
    found: list[Any]
    if isinstance(value, Mapping):
        found = [part for pair in value.items() for part in pair]
    elif isinstance(value, set | frozenset):
        found = sorted(digest_of(_plain(part)) for part in value)
    elif isinstance(value, list | tuple):
        found = list(value)
    elif isinstance(value, CodeType):
        found = [value.co_code, value.co_names, value.co_consts]
    elif isinstance(value, FunctionType):  # its code comes along to other processes, where its source isn't found
        closed = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        found = [value.__code__, value.__defaults__, value.__kwdefaults__, closed]
    elif isinstance(value, partial):
        found = [value.func, value.args, value.keywords]
    else:  # of an object what is plain in it: behind the rest may be a logger, a file, all that there is
        plain = {k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, PLAIN)}
        found = [getattr(value, "__name__", ""), getattr(value, "__self__", None), plain]
    return found

"""What a network of the user's own is beside its weights: code, and all that its parts were told.

Weights alone don't tell two networks apart: a factor in an attribute, the heads of an attention layer, a buffer that is
kept out of the state. Torch's printed structure shows some of it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustnoise.errors import BadParameter, shown, told
from robustnoise.spec import canonical_json, digest_of

OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has; weights, buffers and parts among them are looked at elsewhere."""
PLAIN = (
    bool, int, float, complex, str, bytes, list, tuple, dict, set, Tensor, np.ndarray, np.generic, torch.dtype,
    FunctionType, MethodType, partial, SimpleNamespace,
)  # fmt: skip
"""What is followed inside an object of any other kind, beside dataclasses."""

LONG = 10**4300
"""Python writes no whole number from here on in decimal digits."""
UNTOLD = (RecursionError, ValueError)
"""What it raises where something has no digest."""


def source_digest(network: nn.Module) -> str:
    """sha256 of the source of every class of layer, and of what it inherits from, of its name where there is no source.

    Those of torch and of Python itself are left out.
    """
    classes = {cls for part in network.modules() for cls in type(part).__mro__ if not _known(cls)}
    sources = {}
    for cls in classes:
        name = f"{cls.__module__}.{cls.__qualname__}"
        try:
            sources[name] = inspect.getsource(cls)
        except (OSError, TypeError):
            sources[name] = ""
    return digest_of(sources)


def _known(cls: type) -> bool:
    package = cls.__module__.partition(".")[0]
    return package == "torch" or package in sys.stdlib_module_names - {"__main__"}


def settings_digest(network: nn.Module) -> str:
    """sha256 of every part's attributes that are no weights, of its hooks, and of buffers kept out of its state.

    Raises:
        BadParameter: an attribute has no digest, such as lists in lists without end; the message names it.
    """
    names = {id(part): name for name, part in network.named_modules()}
    try:
        return digest_of_any({name: _plain(_told(part), names) for name, part in network.named_modules()})
    except UNTOLD as error:
        raise BadParameter(
            f"a network whose {_culprit(network, names)} has no digest ({told(error)}). Expected numbers, texts, "
            "arrays and shallow lists of such; keep what decides no answer outside of the network."
        ) from error


def _told(part: nn.Module) -> list[Any]:
    own = {key: value for key, value in vars(part).items() if key not in OF_TORCH}
    unsaved = {key: part._buffers[key] for key in part._non_persistent_buffers_set}
    found: list[Any] = [type(part), own, unsaved]
    hooks = [list(hooks.values()) for hooks in (part._forward_pre_hooks, part._forward_hooks)]
    if any(hooks):
        found.append(hooks)
    if isinstance(part, torch.jit.ScriptModule) and part._c._has_method("forward"):
        code, constants = part.code_with_constants
        found.append([code, dict(constants.const_mapping)])
    return found


def _culprit(network: nn.Module, names: Mapping[int, str]) -> str:
    """The attribute that `_plain` can't take, in words."""
    for name, part in network.named_modules():
        for key, value in vars(part).items():
            try:
                if key not in OF_TORCH:
                    digest_of_any({name: _plain([type(part), {key: value}], names)})
            except UNTOLD:
                return f"attribute {shown(key)} of {f'part {shown(name)}, ' if name else ''}{type(part).__name__}"
    return "hooks or buffers"


def digest_of_any(value: object) -> str:
    """As `digest_of`, and of texts with lone surrogates too, which a path has that isn't UTF-8."""
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()


def _plain(value: Any, names: Mapping[int, str], above: frozenset[int] = frozenset()) -> Any:
    """JSON that tells `value` from others, the same in every process.

    `names` are those of the network's parts by id, each of which is looked at once; `above` are the ids of what holds
    the value.
    """
    if value is None or isinstance(value, bool | int | str):
        return ["int", hex(value)] if isinstance(value, int) and abs(value) >= LONG else value
    if isinstance(value, float | complex | bytes | torch.dtype | torch.device | np.dtype):
        return repr(value)
    if isinstance(value, type | ModuleType):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if id(value) in names:
        return ["part", names[id(value)]]
    if id(value) in above:
        return "above"
    above |= {id(value)}
    parts = [_plain(part, names, above) for part in _parts(value)]
    if isinstance(value, set | frozenset):
        parts = sorted(map(digest_of_any, parts))
    return [_plain(type(value), names), *parts]


def _tensor(value: Tensor) -> list[Any]:
    told = [str(value.dtype), list(value.shape)]
    if value.is_meta:  # has no content
        return [*told, "meta"]
    if value.layout is not torch.strided:
        value = value.to_dense()
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    raw = plain.flatten().view(torch.uint8) if value.numel() else torch.empty(0)
    return [*told, hashlib.sha256(raw.numpy().tobytes()).hexdigest()]


def _parts(value: Any) -> list[Any]:
    """What an object consists of."""
    found: list[Any]
    if isinstance(value, Mapping):
        found = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple | set | frozenset):
        found = list(value)
    elif isinstance(value, CodeType):
        found = [value.co_code, value.co_names, value.co_consts]
    elif isinstance(value, FunctionType):  # its code comes along to other processes, where its source isn't found
        closed = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        found = [value.__code__, value.__defaults__, value.__kwdefaults__, closed]
    elif isinstance(value, MethodType):
        found = [value.__func__, value.__self__]
    elif isinstance(value, partial):
        found = [value.func, value.args, value.keywords]
    else:  # of an object what is plain in it: behind the rest may be a logger, a file, all that there is
        plain = {k: v for k, v in _attributes(value).items() if isinstance(v, PLAIN) or is_dataclass(v)}
        found = [getattr(value, "__name__", ""), getattr(value, "__self__", None), plain]
    return found


def _attributes(value: Any) -> dict[str, Any]:
    slots = [getattr(cls, "__slots__", ()) for cls in type(value).__mro__]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    own = {
        name: getattr(value, name) for name in names if name not in ("__dict__", "__weakref__") and hasattr(value, name)
    }
    return own | getattr(value, "__dict__", {})

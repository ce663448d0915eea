"""A device of its own, made in Python, so that what a GPU refuses is refused on any machine.

After `install()` this process has ``torch.device("elsewhere")``. It computes on the processor, to the same bits, with
the manners of a GPU: one operation can't take tensors of two devices, and numpy can't see its memory. It is stricter in
that it draws no random numbers: those of a GPU would be others.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "elsewhere"

aten = torch.ops.aten
MOVES = {aten.copy_.default, aten._to_copy.default}
"""From one device to the other."""
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""What takes indices from the processor, as on a GPU."""
SEQUENCES = {aten._pack_padded_sequence.default, aten._pad_packed_sequence.default}
"""What takes lengths of sequences from the processor, and gives them back there."""
FACTORIES = "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "linspace"
done = itertools.count()
"""Operations on the device."""
_library: list[torch.library.Library] = []


class Elsewhere(Tensor):
    """A tensor on the device; `here` is its memory."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            layout=here.layout, device=torch.device(NAME, 0), requires_grad=False,
        )  # fmt: skip
        made.here = here
        return made

    def __init__(self, here: Tensor) -> None: ...

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        next(done)
        kwargs = dict(kwargs or {})
        _refuse(func, args, kwargs)
        target = kwargs.get("device")
        away = target is None or torch.device(target).type == NAME
        given = kwargs if target is None else kwargs | {"device": torch.device("cpu"), "pin_memory": None}
        out = func(*_here(args), **_here(given))
        if func is aten.copy_.default:
            return args[0]
        if not away:
            return out
        if func in SEQUENCES:
            return Elsewhere(out[0]), out[1]
        # In inference mode a view of an ordinary tensor is one itself.
        ordinary = func.is_view and not args[0].is_inference()
        with torch.inference_mode(False) if ordinary else nullcontext():
            return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, Elsewhere, out))


def _here(tree: Any) -> Any:
    return tree_map_only(Elsewhere, lambda t: t.here, tree)


BY = "_setup_privateuseone_for_python_backend", "_DummyBackendModule"
"""What torch's own tests make such devices with; private, and younger than torch 2.9."""
AVAILABLE = all(hasattr(backend_registration, name) for name in BY)
"""Whether this version of torch has it."""


def install() -> None:
    """Make the device known to torch; once in a process, for good."""
    setup, dummy = (getattr(backend_registration, name) for name in BY)

    def types(_: object) -> list[torch.dtype]:
        return [torch.bfloat16]

    setup(NAME, backend_module=type("Module", (dummy,), {"get_amp_supported_dtype": types})())
    library = torch.library.Library("aten", "IMPL")
    for name in FACTORIES:
        operator, _, overload = name.partition(".")
        library.impl(name, _make(getattr(getattr(aten, operator), overload or "default")), "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    _library.append(library)


def _make(op: Any) -> Any:
    """A factory that makes a tensor on the processor and calls it the device's."""

    def make(*args: Any, **kwargs: Any) -> Tensor:
        return Elsewhere(op(*args, **(kwargs | {"device": torch.device("cpu"), "pin_memory": None})))

    return make


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _here(target).copy_(_here(source))
    return target


def _refuse(func: Any, args: Any, kwargs: Any) -> None:
    leaves = tree_leaves((args, kwargs))
    if any(isinstance(leaf, torch.Generator) for leaf in leaves) or torch.Tag.nondeterministic_seeded in func.tags:
        raise RuntimeError(f"{func}: no random numbers are drawn on the device {NAME!r}.")
    if func in MOVES | SEQUENCES:
        return
    if func in INDEXED and isinstance(args[0], Elsewhere):
        leaves = tree_leaves((args[2:], kwargs))
    for leaf in leaves:
        if isinstance(leaf, Tensor) and not isinstance(leaf, Elsewhere) and leaf.dim():
            raise RuntimeError(
                f"{func}: expected all tensors on {NAME!r}, found one of shape {tuple(leaf.shape)} on cpu."
            )

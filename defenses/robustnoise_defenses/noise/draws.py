"""Gaussian draws, fast and the same for any number of threads."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from robustnoise.api import SeedStream

CHUNK = 1 << 17
"""Numbers that one generator draws; part of the identity of every draw. torch's own normal_ is serial, so a large
tensor is cut into chunks with a stream each, which threads fill side by side."""


class Draws:
    """Standard normal tensors of one noisy pass: a function of (stream, name, how often the name was asked, shape).

    Args:
        stream: of the pass and the effect.

    Attributes:
        once: keeps what is drawn once for the whole pass, however often a product runs in it.
    """

    def __init__(self, stream: SeedStream) -> None:
        self.stream = stream
        self.once = Once()
        self._asked: dict[str, int] = {}

    def normal_like(self, name: str, like: Tensor) -> Tensor:
        """Independent standard normal numbers in the shape, dtype, device and memory layout of `like`.

        They are laid down in the order of memory, so a tensor with channels last gets the same numbers in other places
        than a contiguous one. A layout follows from the network and the shape of its input, never from the data.
        """
        turn = self._asked.get(name, 0)
        self._asked[name] = turn + 1
        flat = normals(like.numel(), self.stream.child(name, turn)).to(like.device, like.dtype)
        if _dense(like):
            # In the order of memory: adding tensors of two layouts is several times slower than adding two of one.
            return flat.as_strided(like.shape, like.stride())
        return flat.view(like.shape)


class Once:
    """Tensors that are made once and kept, such as what is drawn for a device."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Tensor] = {}

    def get(self, *key: object, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gave when `key` was asked for first, without gradient."""
        if key not in self._made:
            # A tensor made in inference mode could take part in no gradient later on.
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = make()
        return self._made[key]


class Stored:
    """Weights as a device holds them, made once for the weights that the network has."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[Tensor, Sequence[object], Tensor]] = {}

    def get(self, name: str, weight: Tensor, effects: Sequence[object], make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives for product `name`, without gradient.

        Args:
            name: of the product.
            weight: of the network. By value: a stage of somebody's own may move the weights in every pass.
            effects: that `make` follows from.
            make: called where the last call for `name` was with another weight or other effects.
        """
        key = (name, weight.device)
        known = self._made.get(key)
        if known is not None and known[1] == effects and torch.equal(known[0], weight):
            return known[2]
        # A tensor made in inference mode could take part in no gradient later on.
        with torch.inference_mode(False), torch.no_grad():
            self._made[key] = weight.clone(), effects, make()
        return self._made[key][2]


def normals(count: int, stream: SeedStream) -> Tensor:
    """(count,) float32 standard normal numbers on the CPU."""
    with torch.inference_mode(False):  # the mode is a thread's own: workers may not write to an inference tensor
        flat = torch.empty(count)
    if count <= CHUNK:
        return flat.normal_(generator=stream.generator(0))
    parts = flat.split(CHUNK)
    list(_workers().map(lambda i: parts[i].normal_(generator=stream.generator(i)), range(len(parts))))
    return flat


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="noise")


os.register_at_fork(after_in_child=_workers.cache_clear)  # a forked process has none of its parent's threads


def _dense(x: Tensor) -> bool:
    """Whether x fills a block of memory without gaps or overlaps, in any order of its axes."""
    expected = 1
    for size, stride in sorted(zip(x.shape, x.stride(), strict=True), key=lambda pair: pair[1]):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True

"""What a network computes before its first noisy product, kept while the passes of a vote ask for the same images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from robustnoise_defenses.noise.measure import INPUT


class Prefix:
    """The leading children of an `nn.Sequential` that no effect reaches, run once for the same input.

    Every pass gives the same bytes as without it: the same calls on the same input, once. A network of
    another type, in training, with hooks, or of layers of somebody's own, which could draw, has no such children.

    Args:
        module: the network.
        names: the places where effects act, see `inside.Effect`.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        self.module, self.length = module, _leading(module, list(names))
        self._seen: Tensor | None = None
        self._made: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The network's output for `x`, (n, ...)."""
        children = list(self.module.children())
        if x.requires_grad:  # what is kept leads back to another image
            return self._through(children, x)
        # By value: a wrapper between the vote and the network may make another image in every pass.
        if self._made is None or self._seen is None or not torch.equal(self._seen, x):
            self._seen = x.clone()
            self._made = self._through(children[: self.length], x)
        return self._through(children[self.length :], self._made)

    @staticmethod
    def _through(children: Iterable[nn.Module], out: Tensor) -> Tensor:
        for child in children:
            out = child(out)
        return out


def _leading(module: nn.Module, names: list[str]) -> int:
    """How many children can be kept; none where it isn't certain."""
    children = list(module.named_children())
    plain = type(module).forward is nn.Sequential.forward and len(children) == len(module._modules)
    if INPUT in names or not plain or not all(_plain(part) for part in module.modules()):
        return 0
    reached = (any(name == child or name.startswith(f"{child}.") for name in names) for child, _ in children)
    return next((count for count, found in enumerate(reached) if found), len(children))


def _plain(layer: nn.Module) -> bool:
    """Whether a layer's output follows from its input alone, which it leaves as it is, and nobody listens."""
    known = type(layer).__module__.startswith(("torch.nn.", "robustnoise."))
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    in_place = getattr(layer, "inplace", False)  # it would overwrite what is kept
    return known and not (hooked or layer.training or in_place or isinstance(layer, nn.FractionalMaxPool2d))

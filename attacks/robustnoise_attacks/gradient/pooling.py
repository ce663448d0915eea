"""Max pooling before the ReLU that it follows: the same logits and gradients, and a quarter of the ReLU's work or less.

The largest of the positive parts is the positive part of the largest. Where several values tie at 0 the pooling hands
the gradient to another of them, and the ReLU stops it either way.
"""

from __future__ import annotations

import copy

from torch import nn

from robustnoise.api import Differentiable, TorchClassifier


def pooled_first(source: Differentiable) -> Differentiable:
    """`source`, or where it is a plain `nn.Sequential` that has such layers, another that shares its layers."""
    if (whole := getattr(source, "whole", None)) is not None and (first := pooled_first(whole)) is not whole:
        changed = copy.copy(source)
        changed.whole = first  # type: ignore[attr-defined]
        return changed
    if type(source) is not TorchClassifier or type(source.module) is not nn.Sequential or _is_watched(source.module):
        return source
    layers, number = list(source.module), 0
    while number + 1 < len(layers):
        relu, pool = layers[number : number + 2]
        found = type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d and not pool.return_indices
        if found and not (_is_watched(relu) or _is_watched(pool)):
            layers[number : number + 2] = pool, relu
            number += 1
        number += 1
    if layers == list(source.module):
        return source
    turned = copy.copy(source)
    turned.module = nn.Sequential(*layers).eval()
    return turned


def _is_watched(layer: nn.Module) -> bool:
    """Whether someone has hooks on it, who would see other values."""
    return any(
        (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    )  # fmt: skip

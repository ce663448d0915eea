"""The same network with cheaper layers for an ascent: the same logits, and the same gradients of images bit by bit.

Max pooling goes before the ReLU that it follows, which leaves a quarter of the ReLU's work or less: the largest of the
positive parts is the positive part of the largest. Where several values tie at 0 the pooling hands the gradient to
another of them, and the ReLU stops it either way. A ReLU behind a convolution overwrites its output. The rest is in
`backward`.
"""

from __future__ import annotations

import copy
from typing import TypeGuard, TypeVar

from torch import nn
from torch.nn.modules import module as torch_module

from robustnoise.api import Differentiable, Lowered, TorchClassifier
from robustnoise_attacks.gradient.backward import LaidOut, QuickConv, is_strided

Kind = TypeVar("Kind", bound=nn.Module)


def quicker(source: Differentiable) -> Differentiable:
    """`source`, or where it is nothing but an `nn.Sequential` with such layers, another that shares its layers.

    A classifier or network of somebody's own, one under noise, and layers with hooks stay as they are.
    """
    if type(source) is Lowered:
        whole = quicker(source.whole)
        return source if whole is source.whole else Lowered(whole, source.device)
    if type(source) is not TorchClassifier or not isinstance(source.module, nn.Sequential):
        return source
    own = list(source.module) if _is_plain(source.module, nn.Sequential) else []
    layers = _laid_out(_pooled_first(own))
    layers = [QuickConv(x) if _is_plain(x, nn.Conv2d) and is_strided(x) else x for x in layers]
    layers = _in_place(layers)
    if layers == own:
        return source
    turned = copy.copy(source)
    turned.module = nn.Sequential(*layers)
    turned.module.training = source.module.training
    return turned


def _pooled_first(layers: list[nn.Module]) -> list[nn.Module]:
    layers, number = list(layers), 0
    while number + 1 < len(layers):
        relu, pool = layers[number : number + 2]
        if _is_plain(relu, nn.ReLU) and _is_plain(pool, nn.MaxPool2d):
            layers[number : number + 2] = pool, relu
            number += 1
        number += 1
    return layers


def _in_place(layers: list[nn.Module]) -> list[nn.Module]:
    """ReLUs overwrite a convolution's output, which no way back needs, where nobody watches it."""
    unseen = [_is_plain(layer, nn.Conv2d) or type(layer) is QuickConv for layer in layers]
    pairs = zip([False, *unseen], layers, strict=False)
    return [nn.ReLU(inplace=True) if free and _is_plain(layer, nn.ReLU) else layer for free, layer in pairs]


def _laid_out(layers: list[nn.Module]) -> list[nn.Module]:
    pairs = zip([None, *layers], layers, strict=False)
    return [LaidOut(b) if a and _is_plain(a, nn.ReLU) and _is_plain(b, nn.Flatten) else b for a, b in pairs]


def _is_plain(layer: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether it is that very kind, and nobody has hooks on it who would see other values, or a forward of its own."""
    everyone = (
        torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks,
        torch_module._global_backward_hooks, torch_module._global_backward_pre_hooks,
    )  # fmt: skip
    here = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is kind and not any((*everyone, *here)) and "forward" not in vars(layer)

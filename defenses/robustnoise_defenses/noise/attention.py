"""The forward pass of torch's multi-head attention in Python, with every matrix product of a weight done by a callback.

The projections of query, key and value and that of the output are products. The two products of activations with
activations, scores and weighted values, are computed as they are.

Whoever replaces the forward must switch off torch's fast path for the time
(``torch.backends.mha.set_fastpath_enabled(False)``): an encoder layer in eval mode would skip its sub-modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnoise.api import MissingCapability
from robustnoise_defenses.noise.gates import join

if TYPE_CHECKING:
    from robustnoise_defenses.noise.products import Product

PRODUCTS = ("q", "k", "v", "out")


def names(layer: nn.MultiheadAttention, name: str) -> list[str]:
    """Names of the products of a layer called `name`, in order: ``name.q``, ``name.k``, ``name.v``, ``name.out``.

    Raises:
        MissingCapability: see `replacement`.
    """
    _check(layer)
    return [join(name, part) for part in PRODUCTS]


def replacement(layer: nn.MultiheadAttention, name: str, product: Product) -> Callable[..., Any]:
    """A function with signature and result of ``layer.forward``.

    The layer's sub-module ``out_proj`` is not called: its weights are used in the product ``name.out``. Padded keys get
    no attention, but as tokens of a real row they do count towards a product's signal power.

    Raises:
        MissingCapability: the layer was made with ``add_bias_kv`` or ``add_zero_attn``.
    """
    _check(layer)
    name_q, name_k, name_v, name_out = names(layer, name)

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask, which is None; expected the mask too")
        batched = query.dim() == 3
        if not batched:
            query, key, value = query[None], key[None], value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not layer.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        (weight_q, weight_k, weight_v), (bias_q, bias_k, bias_v) = _projections(layer)
        q = _heads(product(name_q, query, weight_q, bias_q, F.linear), layer)
        k = _heads(product(name_k, key, weight_k, bias_k, F.linear), layer)
        v = _heads(product(name_v, value, weight_v, bias_v, F.linear), layer)
        scores = (q / math.sqrt(layer.head_dim)) @ k.transpose(2, 3)
        mask = _mask(layer, scores, key_padding_mask, attn_mask)
        attention = torch.softmax(scores if mask is None else scores + mask, 3)
        if layer.training and layer.dropout:
            attention = F.dropout(attention, layer.dropout)
        mixed = (attention @ v).transpose(1, 2).flatten(2)
        out = product(name_out, mixed, layer.out_proj.weight, layer.out_proj.bias, F.linear)
        weights = None
        if need_weights:
            weights = attention.mean(1) if average_attn_weights else attention
        if not batched:
            return out[0], None if weights is None else weights[0]
        return (out if layer.batch_first else out.transpose(0, 1)), weights

    return forward


def _check(layer: nn.MultiheadAttention) -> None:
    if layer.bias_k is not None or layer.bias_v is not None or layer.add_zero_attn:
        raise MissingCapability(
            "noise on a MultiheadAttention with add_bias_kv or add_zero_attn isn't supported; expected neither. "
            "Build the layer without them"
        )


def _projections(layer: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor | None]]:
    """Weights and biases of query, key and value, from one packed weight or from three."""
    if layer.in_proj_weight is not None:
        weights = list(layer.in_proj_weight.chunk(3))
    else:
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    biases: list[Tensor | None] = [None, None, None]
    if layer.in_proj_bias is not None:
        biases = list(layer.in_proj_bias.chunk(3))
    return weights, biases


def _heads(x: Tensor, layer: nn.MultiheadAttention) -> Tensor:
    """(n, tokens, features) to (n, heads, tokens, features of a head)."""
    heads: Tensor = x.unflatten(2, (layer.num_heads, layer.head_dim))
    return heads.transpose(1, 2)


def _mask(
    layer: nn.MultiheadAttention, scores: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None
) -> Tensor | None:
    """What is added to the scores, (n, heads, L, S) or what broadcasts to it: minus infinity where a mask is True."""
    mask = None
    if attn_mask is not None:
        mask = _additive(attn_mask, scores)
        if mask.dim() == 3:
            mask = mask.unflatten(0, (-1, layer.num_heads))
    if key_padding_mask is not None:
        padding = _additive(key_padding_mask, scores)[:, None, None]
        mask = padding if mask is None else mask + padding
    return mask


def _additive(mask: Tensor, scores: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(scores.dtype)
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -math.inf)

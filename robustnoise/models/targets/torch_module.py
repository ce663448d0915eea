"""A torch network of the user's own, with the normalisation that it was trained with put inside."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustnoise.errors import BadParameter, told
from robustnoise.models.classifier import TorchClassifier
from robustnoise.models.structure import settings_digest, source_digest
from robustnoise.models.targets.base import check_shape


class Normalised(nn.Module):
    """A network behind ``(x - mean) / std``.

    Args:
        network: takes normalised images.
        mean: (C,) or None.
        std: (C,) or None.
    """

    def __init__(self, network: nn.Module, mean: Tensor | None, std: Tensor | None) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        # Now: in another process the source of a class that came in a pickle isn't found.
        self.code = source_digest(network)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        if isinstance(self.mean, Tensor) and isinstance(self.std, Tensor):
            x = (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
        out: Tensor = self.network(x)
        return out

    def extra_repr(self) -> str:
        """The code of the user's layers: a digest sees the weights, and this is what is done with them."""
        return f"code={self.code}"


def channel_values(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """`mean` and `std` as float32 (C,), or None twice.

    Raises:
        BadParameter: one without the other, not one number a channel, or a std that isn't above 0.
    """
    if mean is None and std is None:
        return None, None
    if mean is None or std is None:
        raise BadParameter(f"mean = {mean!r} and std = {std!r}: give both or none.")
    found = []
    for name, values in (("mean", mean), ("std", std)):
        try:
            tensor = torch.as_tensor(values, dtype=torch.float32).detach().clone().cpu()
        except (TypeError, ValueError, RuntimeError):
            tensor = torch.empty(0)
        good = tensor.shape == (channels,) and bool(torch.isfinite(tensor).all())
        if not good or (name == "std" and bool((tensor <= 0).any())):
            above = " above 0" if name == "std" else ""
            raise BadParameter(
                f"{name} = {values!r}: expected {channels} finite numbers{above}, one a channel, for pixels in [0, 1]."
            )
        found.append(tensor)
    return found[0], found[1]


def from_torch(
    network: nn.Module,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> TorchClassifier:
    """A classifier from a copy of a trained network, with gradients and layers that defenses reach.

    Its digest covers weights, structure, all attributes of its layers, and the source of the user's own ones.

    Args:
        network: float32 (n, C, H, W), normalised where mean and std are given, else in [0, 1], to (n, num_classes)
            logits; deterministic in eval mode.
        input_shape: (C, H, W).
        num_classes: at least 2.
        mean: (C,) of the training images, pixels in [0, 1].
        std: (C,) likewise, above 0.

    Raises:
        BadParameter: mean and std don't fit, the network doesn't take such images or answers no such logits, or holds
            what has no digest.
    """
    if not isinstance(network, nn.Module):
        raise BadParameter(f"from_torch takes a torch.nn.Module, not {type(network).__name__}; see from_callable.")
    shape = check_shape(input_shape)
    inside = Normalised(_copied(network).float(), *channel_values(mean, std, shape[0]))
    classifier = TorchClassifier(inside, shape, num_classes)
    blank = torch.zeros(2, *shape, device=classifier.device)
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            said = classifier.module(blank)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise BadParameter(f"{type(network).__name__} doesn't take images of shape {shape}: {reason}.") from None
    if not isinstance(said, Tensor) or said.shape != (2, num_classes):
        found = tuple(said.shape) if isinstance(said, Tensor) else type(said).__name__
        raise BadParameter(f"{type(network).__name__} answers {found} to 2 images; expected logits (2, {num_classes}).")
    return classifier


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except RecursionError as error:
        settings_digest(network)  # names the attribute where it is too deep for a digest, too
        raise BadParameter(
            f"{type(network).__name__} can't be copied: {told(error)}. Keep lists in lists without end outside of it."
        ) from error

"""The reference architectures. Inputs are (n, C, H, W) in [0, 1]; outputs are logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from robustnoise.errors import BadData
from robustnoise.protocols import Model
from robustnoise.spec import LaterField


@dataclass(frozen=True)
class SmallCNN(Model):
    """Two strided 4x4 convolutions and two linear layers; 0.6 million multiplications an image at 28x28."""

    reference = "Wong, Rice, Kolter 2020, arXiv 2001.03994, the MNIST network"

    width: Annotated[
        int, Field(ge=1, le=1024, description="channels of the first convolution; the second has twice")
    ] = 16
    hidden: Annotated[int, Field(ge=1, le=65536, description="units of the hidden linear layer")] = 100

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`; height and width of at least 4."""
        channels, height, width = input_shape
        _need_size(self, input_shape, 4)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * self.width * (height // 4) * (width // 4), self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, num_classes),
        )


@dataclass(frozen=True)
class MadryMNIST(Model):
    """The network of the MNIST challenge: 5x5 convolutions of 32 and 64 channels with max pooling, then 1,024 units."""

    reference = "Madry et al. 2018, arXiv 1706.06083; github.com/MadryLab/mnist_challenge"

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`; height and width of at least 4."""
        channels, height, width = input_shape
        _need_size(self, input_shape, 4)
        return nn.Sequential(
            nn.Conv2d(channels, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 1024),
            nn.ReLU(),
            nn.Linear(1024, num_classes),
        )


@dataclass(frozen=True)
class MLP(Model):
    """Two hidden layers on the flattened image."""

    hidden: Annotated[int, Field(ge=1, le=65536, description="units of each hidden layer")] = 200

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`."""
        channels, height, width = input_shape
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, num_classes),
        )


@dataclass(frozen=True)
class NormCNN(Model):
    """Three convolutions with batch norm and ReLU, pooled twice, and one linear layer.

    Wide and shallow, for noise in every layer: each product averages over many noisy inputs, and few products follow
    each other. 8 million multiplications an image at 28x28 and width 32.
    """

    width: Annotated[
        int,
        Field(ge=1, le=1024, description="channels of the first convolution; the others have 2 and 4 times as many"),
    ] = 32

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`; height and width of at least 4."""
        channels, height, width = input_shape
        _need_size(self, input_shape, 4)
        w = self.width
        return nn.Sequential(
            *_conv_norm(channels, w, 5),
            nn.MaxPool2d(2),
            *_conv_norm(w, 2 * w),
            nn.MaxPool2d(2),
            *_conv_norm(2 * w, 4 * w),
            nn.Flatten(),
            nn.Linear(4 * w * (height // 4) * (width // 4), num_classes),
        )


POOLS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "max": (nn.MaxPool2d, nn.AdaptiveMaxPool2d),
    "average": (nn.AvgPool2d, nn.AdaptiveAvgPool2d),
}
"""Of squares of pixels, and of all that is left."""


@dataclass(frozen=True)
class ResNet9(Model):
    """Four convolutions, two residual blocks of two, batch norm; 95 million multiplications at 32x32 and width 32."""

    reference = "Page 2019, How to train your ResNet; Coleman et al. 2017, DAWNBench"

    width: Annotated[int, Field(ge=1, le=1024, description="channels of the first convolution")] = 32
    pool: Annotated[
        Literal["max", "average"], Field(description="average takes noise out, which max lets through"), LaterField()
    ] = "max"

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """See `Model.build`; height and width of at least 8."""
        _need_size(self, input_shape, 8)
        w = self.width
        halved, whole = POOLS[self.pool]
        return nn.Sequential(
            *_conv_norm(input_shape[0], w),
            *_conv_norm(w, 2 * w),
            halved(2),
            _Residual(2 * w),
            *_conv_norm(2 * w, 4 * w),
            halved(2),
            *_conv_norm(4 * w, 8 * w),
            halved(2),
            _Residual(8 * w),
            whole(1),
            nn.Flatten(),
            nn.Linear(8 * w, num_classes),
        )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv_norm(channels, channels), *_conv_norm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _conv_norm(inputs: int, outputs: int, size: int = 3) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def _need_size(model: Model, input_shape: tuple[int, int, int], least: int) -> None:
    if min(input_shape[1:]) < least:
        raise BadData(
            f"{type(model).__name__} can't take images of shape {input_shape}: height and width must be "
            f"at least {least}. Use mlp."
        )

"""The digest of a network of the user's own: what it is beside its weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustnoise as rn
from robustnoise.errors import BadParameter
from robustnoise.models.structure import settings_digest
from robustnoise.seeds import SeedStream

SHAPE, CLASSES = (2, 4, 4), 3
SETTING: dict[str, Any] = {"input_shape": SHAPE, "num_classes": CLASSES}


class Net(nn.Module):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class Told(nn.Module):
    """A network that is told things which are in no weight and in no printed structure."""

    def __init__(self, factor: object = 1.0, heads: int = 2, kept: float = 0.0, *, first: bool = False) -> None:
        super().__init__()
        self.factor = factor
        self.attention = nn.MultiheadAttention(4, heads, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, norm_first=first, batch_first=True)
        self.last = nn.Linear(32, CLASSES)
        self.register_buffer("kept", torch.tensor(kept), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.asked = x
        x = self.layer(self.attention(*3 * [x.flatten(1, 2) - self.kept])[0])
        out: Tensor = self.last(x.flatten(1))
        return out * self.factor if isinstance(self.factor, float) else self.factor(out)  # type: ignore[operator]


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * factor


@pytest.mark.parametrize("make", [rn.models.from_torch, rn.models.TorchClassifier])
def test_the_digest_of_a_network_follows_all_that_it_was_told(make: Callable[..., Any]) -> None:
    more: list[dict[str, Any]] = [
        {}, {"factor": 2.0}, {"factor": torch.relu}, {"factor": scaled(1.0)}, {"factor": scaled(2.0)}, {"heads": 4},
        {"kept": 1.0}, {"first": True},
    ]  # fmt: skip
    state, digests = Told().state_dict(), []
    for told in [*more, *more]:
        network = Told(**told)
        network.load_state_dict(state)
        found = make(network, **SETTING)
        digests.append(found.digest)
        found.predict(torch.rand(2, *SHAPE), noise=SeedStream(0))
        assert found.digest == digests[-1]  # though it has kept what it was asked
    assert digests[: len(more)] == digests[len(more) :]
    assert len(set(digests)) == len(more)


@dataclass(slots=True)
class Factor:
    """Layers may be told by objects, too."""

    value: object

    def times(self, x: Tensor) -> Tensor:
        """A method of an object."""
        return x * self.value  # type: ignore[operator]

    __call__ = times


def hooked(factor: float) -> nn.Module:
    """A network whose answer a hook changes."""
    network = Net()
    network.register_forward_hook(lambda _, __, out: out * factor)
    return network


def replaced(factor: float) -> nn.Module:
    """A network with a forward of its own."""
    network = Net()

    def first(self: Net, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out

    def second(self: Net, x: Tensor) -> Tensor:
        out: Tensor = -self.body(x)
        return out

    first.__name__ = second.__name__ = "forward"
    network.forward = MethodType(first if factor == 1 else second, network)  # type: ignore[method-assign]
    return network


def told(by: object) -> Callable[[float], nn.Module]:
    """Networks that keep `by` of a factor."""

    def make(factor: float) -> nn.Module:
        network = Net()
        network.told = by(factor)  # type: ignore[operator]
        return network

    return make


@pytest.mark.parametrize(
    "make",
    [
        hooked,
        replaced,
        told(Factor),
        told(lambda factor: Factor(Factor(factor))),
        told(lambda factor: Factor(factor).times),
        told(lambda factor: SimpleNamespace(inner=SimpleNamespace(factor=factor))),
        told(lambda factor: (torch.eye(2) * factor).to_sparse()),
        told(lambda factor: torch.tensor([factor * 1j]).conj()),
        told(lambda factor: torch.empty(int(factor), device="meta")),
    ],
)
def test_the_digest_sees_hooks_methods_and_what_is_inside_objects(make: Callable[[float], nn.Module]) -> None:
    state = Net().state_dict()
    digests = []
    for factor in (1.0, 2.0, 1.0, 2.0):
        network = make(factor)
        network.load_state_dict(state)
        digests.append(rn.models.TorchClassifier(network, **SETTING).digest)
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")
def test_the_digest_sees_the_code_of_a_traced_network() -> None:
    def traced(factor: float) -> nn.Module:
        network = Scaled(Net().eval(), factor)
        found: nn.Module = torch.jit.trace(network, torch.rand(1, *SHAPE))
        return found

    state = traced(1.0).state_dict()
    digests = []
    for factor in (1.0, 2.0, 1.0):
        network = traced(factor)
        network.load_state_dict(state)
        digests.append(rn.models.TorchClassifier(network, **SETTING).digest)
    assert digests[0] == digests[2] != digests[1]


class Scaled(nn.Module):
    """A network times a factor."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x) * self.factor
        return out


def test_parts_that_know_one_another_are_looked_at_once() -> None:
    """Path by path, twelve would take for ever; a set of parts had no end."""
    layers = [nn.Linear(1, 1) for _ in range(12)]
    for layer in layers:
        layer.peers, layer.group = list(layers), set(layers)  # type: ignore[assignment]
    assert settings_digest(nn.Sequential(*layers)) != settings_digest(nn.Sequential(*layers[1:]))


def _nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def _holding(value: object) -> nn.Module:
    network = Net()
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    network.body[1].held = value  # type: ignore[assignment]
    return network


class Shown(nn.Module):
    """A part that prints where it came from."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def extra_repr(self) -> str:
        return "from folder-\udcff"


STRANGE: dict[str, list[Any]] = {
    "no UTF-8": ["folder-\udcff", "folder-\udcfe", "folder-\\udcff", {"folder-\udcff"}, {"folder-\udcff": 1}],
    "long": [10**4300, -(10**4300), 10**4300 + 1, hex(10**4300), {10**5000}],
    "longest in digits": [10**4300 - 1, 1 - 10**4300],
}


@pytest.mark.parametrize("values", STRANGE.values(), ids=STRANGE)
def test_texts_that_are_no_unicode_and_numbers_of_any_length_have_digests(values: list[Any]) -> None:
    digests = [rn.models.from_torch(_holding(value), **SETTING).digest for value in [*values, *values]]
    assert digests[: len(values)] == digests[len(values) :]
    assert len(set(digests)) == len(values)


def test_a_printed_text_that_is_no_unicode_has_a_digest() -> None:
    printed = rn.models.from_torch(nn.Sequential(Net(), Shown()), **SETTING)
    assert printed.digest != rn.models.from_torch(nn.Sequential(Net(), nn.Identity()), **SETTING).digest


@pytest.mark.parametrize("make", [rn.models.from_torch, rn.models.TorchClassifier])
def test_an_attribute_that_is_nested_without_end_is_named(make: Callable[..., Any]) -> None:
    with pytest.raises(BadParameter, match=r"attribute 'held' of part '(network\.)?body\.1', Linear has no digest"):
        make(_holding(_nested(5000)), **SETTING)


def test_what_a_hook_holds_is_nested_without_end() -> None:
    network, deep = Net(), _nested(5000)
    network.register_forward_hook(lambda *_: deep and None)
    with pytest.raises(BadParameter, match="hooks or buffers has no digest"):
        settings_digest(network)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_network_is_refused_with_what_to_give() -> None:
    scripted = torch.jit.script(Net().eval())
    with pytest.raises(BadParameter, match="can't be frozen.*write it as ONNX"):
        rn.models.TorchClassifier(scripted, SHAPE, CLASSES)


BASE = """
from torch import nn

class Base(nn.Module):
    def forward(self, x):
        return self.body(x) * {factor}

class Net(Base):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
"""


def test_the_digest_sees_the_code_that_a_layer_inherits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Net().state_dict()

    def inheriting(factor: int) -> str:
        file = tmp_path / f"v{factor}" / "inheriting.py"
        file.parent.mkdir()
        file.write_text(BASE.format(factor=factor))
        spec = importlib.util.spec_from_file_location("inheriting", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "inheriting", module)
            spec.loader.exec_module(module)
            network = module.Net()
            network.load_state_dict(state)
            return rn.models.from_torch(network, **SETTING).digest

    assert inheriting(1) != inheriting(2)

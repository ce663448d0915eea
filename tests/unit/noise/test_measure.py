"""What calibration measures: the first 1,024 training images, noise off, padded steps left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ON_OUTPUT
from robustnoise_defenses.noise.measure import INPUT, LOGITS, Signal, measure
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats, split

SEQUENCES = (1, 6, 4)


class Packed(nn.Module):
    """Reads the rows of an image, as many as its first pixel says."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x[:, 0], lengths(x), batch_first=True, enforce_sorted=False)
        out: Tensor = self.head(self.lstm(packed)[1][0][0])
        return out


def lengths(x: Tensor) -> Tensor:
    return (1 + (x[:, 0, 0, 0] * 5.99).long()).cpu()


def gates_one_by_one(net: Any, x: Tensor) -> list[Tensor]:
    """The gate pre-activations of every real step, each sequence run on its own."""
    lstm, found = net.module.lstm, []
    for image, length in zip(x[:, 0], lengths(x), strict=True):
        h = c = torch.zeros(1, 5)
        for row in image[:length]:
            gates = row[None] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(gates)
    return found


def test_powers_and_peaks_by_hand() -> None:
    net, x = every_kind(), floats(256)
    found = measure(net.module, split(256))
    assert found.inputs[INPUT].power("second_moment") == pytest.approx(x.double().square().mean().item())
    first = net.module.strided(x).double()
    signal = found.outputs["strided"]
    assert signal.power("second_moment") == pytest.approx(first.square().mean().item(), rel=1e-6)
    assert signal.power("variance") == pytest.approx(first.var(unbiased=False).item(), rel=1e-6)
    assert signal.peak == pytest.approx(first.abs().max().item())
    channels = first.var((0, 2, 3), unbiased=False).tolist()
    assert signal.channel_power("variance") == pytest.approx(channels, rel=1e-6)
    logits = net.logits(x, noise=NOISE).double()
    assert found.outputs[LOGITS].power("second_moment") == pytest.approx(logits.square().mean().item(), rel=1e-5)
    units = logits.square().mean(0).tolist()
    assert found.outputs[LOGITS].channel_power("second_moment") == pytest.approx(units, rel=1e-4)


def test_the_first_1024_images_count_and_no_others() -> None:
    net = every_kind()
    assert measure(net.module, split(1100)).inputs[INPUT].count == 1024 * 128
    whole, first = (measure(net.module, split(1100).take(n)).outputs["last"].power("variance") for n in (1100, 1024))
    assert whole == first


def test_padded_steps_are_no_signal() -> None:
    net, train = classifier(Packed(), SEQUENCES), split(100, SEQUENCES)
    gates = torch.cat(gates_one_by_one(net, torch.from_numpy(train.floats()))).double()
    assert len(gates) < 500  # of 600
    found = measure(net.module, train).outputs["lstm.l0"]
    assert found.count == gates.numel()
    assert found.power("second_moment") == pytest.approx(gates.square().mean().item(), rel=1e-5)
    assert found.channel_power("variance") == pytest.approx(gates.var(0, unbiased=False).tolist(), rel=1e-4)


@pytest.mark.parametrize("statistic", ["second_moment", "variance"])
@pytest.mark.parametrize("power", ["batch", "channel"])
def test_padded_steps_do_not_count_towards_the_power_of_a_batch(power: str, statistic: str) -> None:
    net, x = classifier(Packed(), SEQUENCES), floats(40, SEQUENCES)
    effect = LayerNoise(0, power=power, statistic=statistic).training_effect(["lstm.l0", "head"], 0.0, SeedStream(0))  # type: ignore[arg-type]
    before, after = Probe(["lstm.l0"], ON_OUTPUT - 1), Probe(["lstm.l0"], ON_OUTPUT + 1)
    with torch.no_grad(), device(net.module, [before, effect, after], NOISE):
        net.module(x)
    running = lengths(x)
    assert len(before.outputs["lstm.l0"]) == 6
    for step, (t, noisy) in enumerate(zip(before.outputs["lstm.l0"], after.outputs["lstm.l0"], strict=True)):
        real = t[running > step].double()
        axes = (0, 1) if power == "batch" else (0,)
        wanted = real.square().mean(axes) if statistic == "second_moment" else real.var(axes, unbiased=False)
        # The draws are standard normal, so each step's 800 of them tell sigma within a few per cent.
        units = (noisy - t).double() / wanted.clamp_min(1e-12).sqrt()
        if (running > step).sum() > 1:
            assert units.square().mean().item() == pytest.approx(1, abs=5 * (2 / units.numel()) ** 0.5)


def test_a_sequence_meets_the_same_noise_whoever_its_neighbours_are() -> None:
    net, x = classifier(Packed(), SEQUENCES), floats(6, SEQUENCES)
    victim: Any = LayerNoise(0, power="sample").apply(net, Context())
    other = x.clone()
    other[1:, :, 0, 0] = 0.0  # all others end after one step
    alone, among = victim.logits(other, noise=NOISE), victim.logits(x, noise=NOISE)
    torch.testing.assert_close(alone[0], among[0])
    assert not torch.equal(alone[1:], among[1:])


def test_a_constant_signal_has_no_variance_and_no_complex_root() -> None:
    signal = Signal()
    for _ in range(7):
        signal.add(torch.full((11, 3), 0.1), -1)
    assert 0 <= signal.power("variance") < 1e-12
    assert all(0 <= p < 1e-12 for p in signal.channel_power("variance"))
    net = classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))
    with torch.no_grad():
        net.module[1].weight.zero_()  # type: ignore[index]
    for power in ("calibrated", "channel", "sample"):
        victim: Any = LayerNoise(0, power=power, statistic="variance").apply(net, CTX)  # type: ignore[arg-type]
        found = victim.logits(floats(4), noise=NOISE)
        assert found.isfinite().all()
        if power == "channel":  # a unit says the same to every image
            torch.testing.assert_close(found, net.logits(floats(4), noise=NOISE), atol=1e-6, rtol=0)


def test_calibration_is_a_part_of_the_identity() -> None:
    net = every_kind()
    digests = {LayerNoise(0).apply(net, Context(train=split(n))).digest for n in (200, 256)}
    sample = {LayerNoise(0, power="sample").apply(net, Context(train=split(n))).digest for n in (200, 256)}
    assert (len(digests), len(sample)) == (2, 1)
    assert set(measure(net.module, split(64)).outputs) == {*PRODUCTS, LOGITS}

"""Draws are standard normal, independent wherever they must be, a function of stream, name, turn and shape."""

from __future__ import annotations

import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robustnoise.blocks import BLOCK, predict_blocks
from robustnoise.seeds import SeedStream
from robustnoise_defenses import LayerNoise
from robustnoise_defenses.noise import draws as draws_module
from robustnoise_defenses.noise.draws import CHUNK, Draws, normals
from robustnoise_defenses.noise.inside import device
from robustnoise_defenses.noise.layers import ON_OUTPUT
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, Probe, classifier, every_kind, floats

GOLDEN = {
    "small": [-0.722226, 0.944064, 0.214343, -1.188335],
    "second chunk": [1.853971, 0.581225, -0.619913, -0.724076],
    "second turn": [0.996439, 0.714816],
}
N = 4 * CHUNK + 1234
SAMPLE = normals(N, NOISE.child("sample")).double().numpy()


@pytest.mark.parametrize(("moment", "expected", "variance"), [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)])
def test_moments(moment: int, expected: float, variance: float) -> None:
    """The variance of x^k is E x^2k - (E x^k)^2."""
    assert (SAMPLE**moment).mean() == pytest.approx(expected, abs=4 * (variance / N) ** 0.5)


def test_distribution() -> None:
    assert stats.kstest(SAMPLE, "norm").pvalue > 0.01


@pytest.mark.parametrize("beyond", [2.0, 3.0, 4.0])
def test_tails(beyond: float) -> None:
    expected = N * stats.norm.sf(beyond)
    for sign in (1, -1):
        assert (sign * SAMPLE > beyond).sum() == pytest.approx(expected, abs=4 * expected**0.5)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return abs(float(np.corrcoef(a, b)[0, 1])) * len(a) ** 0.5


def test_chunks_and_neighbours_are_independent() -> None:
    chunks = SAMPLE[: 4 * CHUNK].reshape(4, CHUNK)
    for a in range(4):
        for b in range(a):
            assert correlation(chunks[a], chunks[b]) < 4
    for lag in (1, 2, 7, 128):
        assert correlation(SAMPLE[:-lag], SAMPLE[lag:]) < 4


def noise_in_the_net(stream: SeedStream) -> dict[str, list[Tensor]]:
    """The draws that meet every product, call by call, of 200 images."""
    effect = LayerNoise(0, power="sample").effect(PRODUCTS, lambda: None, 0)  # type: ignore[arg-type, return-value]
    before, after = Probe(PRODUCTS, ON_OUTPUT - 1), Probe(PRODUCTS, ON_OUTPUT + 1)
    net = every_kind()
    with torch.inference_mode(), device(net.module, [before, effect, after], stream):
        net.logits(floats(200), noise=stream)
    found = {}
    for name in PRODUCTS:
        pairs = zip(before.outputs[name], after.outputs[name], strict=True)
        found[name] = [
            (noisy - t) / t.square().mean(tuple(range(1, t.dim())), keepdim=True).sqrt() for t, noisy in pairs
        ]
    return found


def test_images_passes_layers_and_time_steps_are_independent() -> None:
    first, second = noise_in_the_net(NOISE.child(1)), noise_in_the_net(NOISE.child(2))
    flat = {n: torch.cat([t.flatten(1) for t in calls], 1).double().numpy() for n, calls in first.items()}
    for name, calls in first.items():
        halves = flat[name]
        assert correlation(halves[::2].ravel(), halves[1::2].ravel()) < 4, f"{name}: images"
        again = torch.cat([t.flatten(1) for t in second[name]], 1).double().numpy()
        assert correlation(halves.ravel(), again.ravel()) < 4, f"{name}: passes"
        for step, later in itertools.pairwise(calls):
            assert correlation(step.flatten().double().numpy(), later.flatten().double().numpy()) < 4, f"{name}: steps"
        for other in PRODUCTS[: PRODUCTS.index(name)]:
            size = min(halves.size, flat[other].size)
            assert correlation(halves.ravel()[:size], flat[other].ravel()[:size]) < 4, f"{name}, {other}"
    assert len(first["lstm.l0"]) == 8


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_threads_draws_the_same(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        monkeypatch.setattr(draws_module, "_workers", lambda: pool)
        assert normals(N, NOISE.child("sample")).double().numpy().tobytes() == SAMPLE.tobytes()


def test_a_forked_process_draws_too() -> None:
    """Threads don't survive a fork; a pool of them would wait for ever."""
    normals(2 * CHUNK, NOISE)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if normals(2 * CHUNK, NOISE).numel() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_draw_is_what_it_was() -> None:
    """Whoever changes this changes every measured number of every noisy victim."""
    stream = SeedStream(3, ("golden",))
    assert normals(4, stream).tolist() == pytest.approx(GOLDEN["small"], abs=1e-6)
    assert normals(CHUNK + 4, stream)[-4:].tolist() == pytest.approx(GOLDEN["second chunk"], abs=1e-6)
    draws = Draws(stream)
    draws.normal_like("fc", torch.zeros(2))
    assert draws.normal_like("fc", torch.zeros(2)).tolist() == pytest.approx(GOLDEN["second turn"], abs=1e-6)


def test_blocks_draw_for_themselves() -> None:
    """However many images are asked about at once, an image meets the noise of its block and place."""
    victim = LayerNoise(0, power="sample").apply(classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 3))), CTX)
    x = floats(2 * BLOCK + 10)
    whole = predict_blocks(victim, x, NOISE).scores
    parts = [victim.predict(x[i * BLOCK : (i + 1) * BLOCK], noise=NOISE.child(i)).scores for i in range(2)]
    assert whole is not None
    assert torch.equal(whole[: 2 * BLOCK], torch.cat(parts))  # type: ignore[arg-type]


def test_memory_order_decides_where_the_same_numbers_go() -> None:
    like = torch.zeros(2, 3, 4, 5)
    plain = Draws(NOISE).normal_like("a", like)
    last = Draws(NOISE).normal_like("a", like.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last.permute(0, 2, 3, 1).flatten(), plain.flatten())
    gaps = Draws(NOISE).normal_like("a", torch.zeros(2, 3, 4, 10)[..., ::2])
    assert torch.equal(gaps, plain)


def test_a_name_asked_again_draws_afresh_and_names_do_not_disturb_each_other() -> None:
    like, both, alone = torch.zeros(7), Draws(NOISE), Draws(NOISE)
    first, _, second = both.normal_like("a", like), both.normal_like("b", like), both.normal_like("a", like)
    assert not torch.equal(first, second)
    assert torch.equal(alone.normal_like("a", like), first)
    assert torch.equal(alone.normal_like("a", like), second)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_same_draw(dtype: torch.dtype) -> None:
    plain = Draws(NOISE).normal_like("a", torch.zeros(50))
    assert torch.equal(Draws(NOISE).normal_like("a", torch.zeros(50, dtype=dtype)), plain.to(dtype))

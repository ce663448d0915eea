"""Copies, shares and noise of the substitute that asks nothing, and two substitutes together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustnoise.api import (
    Access,
    BadParameter,
    Context,
    Ensemble,
    InputWrapper,
    Linf,
    SeedStream,
    Substitute,
    build,
    create,
)
from robustnoise.oracle import CountingOracle
from robustnoise.testing import toy_model, toy_split

DATA = toy_split(40)
CTX = Context(seed=SeedStream(5))
QUICK = "training=plain-training(epochs=2), model=mlp(hidden=16)"


def substitute(text: str) -> Substitute:
    found = build(text, "substitute")
    assert isinstance(found, Substitute)
    return found


def digests(text: str) -> list[str]:
    return [n.digest for n in substitute(text).fit(None, DATA, CTX)]


def test_one_copy_is_what_it_was_before_there_were_copies() -> None:
    expected = "5d432620d74ce25821e3c3ef6674bc9570255b9d9b8dcc11d81f28bc49081935"
    assert digests(f"independent({QUICK})") == [expected]
    three = digests(f"independent({QUICK}, copies=3)")
    assert three[0] == expected
    assert len(set(three)) == 3


def test_a_share_is_the_same_part_for_every_copy_and_nothing_else_counts() -> None:
    text = f"independent({QUICK}, copies=2, share=0.5)"
    whole = digests(text)
    halved = substitute(f"independent({QUICK}, copies=2)").fit(None, DATA.take(20), CTX)
    assert whole == [n.digest for n in halved]
    assert whole != digests(f"independent({QUICK}, copies=2)")
    least = substitute("independent(share=0.001)")
    assert len(least._part(DATA)) == 1  # type: ignore[attr-defined]


def test_copies_are_crafted_on_together_each_with_noise_of_its_own() -> None:
    plugin = substitute(f"independent({QUICK}, copies=2, noise=gaussian-input-noise(0.1), combine=logits)")
    networks = plugin.fit(None, DATA, CTX)
    source = plugin.source(networks, DATA, CTX)
    assert isinstance(source, Ensemble)
    assert source.stochastic
    assert source.combine == "logits"
    assert all(isinstance(m, InputWrapper) for m in source.members)
    x = torch.from_numpy(DATA.floats(0, 8))
    first, again, other = (source.logits(x, noise=SeedStream(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_is_calibrated_on_the_attackers_images() -> None:
    plugin = substitute(f"independent({QUICK}, noise=layer-noise(0), share=0.5)")
    networks = plugin.fit(None, DATA, CTX)
    source = plugin.source(networks, DATA, CTX)
    victim = build("layer-noise(0)", "defense").apply(networks[0], Context(train=DATA.take(20), seed=CTX.seeds))
    assert source.digest == victim.digest
    elsewhere = build("layer-noise(0)", "defense").apply(
        networks[0], Context(train=toy_split(20, seed=9), seed=CTX.seeds)
    )
    assert source.digest != elsewhere.digest


def test_checkpoints_of_copies_are_apart_and_gone_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustnoise.training.checkpoints.CHECKPOINT_SECONDS", 0.0)
    ctx = Context(seed=SeedStream(5), checkpoint=tmp_path / "partial")
    networks = substitute(f"independent({QUICK}, copies=3)").fit(None, DATA, ctx)
    assert [n.digest for n in networks] == digests(f"independent({QUICK}, copies=3)")
    assert [p.name for p in tmp_path.iterdir()] == ["partial"]  # the harness's own


@pytest.mark.parametrize("wrong", ["training=vote(3)", "noise=plain-training"])
def test_it_refuses_stages_of_the_wrong_time(wrong: str) -> None:
    with pytest.raises(BadParameter, match="stages only"):
        build(f"independent({wrong})", "substitute")


# ---------------------------------------------------------------------------------------------------------------- both


JACOBIAN = "jacobian(seed_images=5, rounds=1, epochs=1, model=mlp(hidden=16))"


def oracle(total: int | None = None) -> CountingOracle:
    return CountingOracle(toy_model(seed=1), Linf(0.1), SeedStream(7), total=total)


def test_both_hand_each_its_own_networks_and_add_up() -> None:
    inner = f"both(independent({QUICK}, copies=2), {JACOBIAN})"
    plugin = substitute(f"both({inner}, independent({QUICK}))")
    assert plugin.nets == 4
    asked = oracle()
    networks = plugin.fit(asked, DATA, CTX)
    assert (len(networks), asked.spent) == (4, 10)
    source = plugin.source(networks, DATA, CTX)
    assert isinstance(source, Ensemble)
    assert [m.digest for m in source.members] == [n.digest for n in networks]
    assert networks[0].digest != networks[3].digest  # streams of their own


def test_the_second_has_what_the_first_leaves() -> None:
    plugin = substitute(f"both({JACOBIAN}, {JACOBIAN})")
    asked = oracle(13)
    plugin.fit(asked, DATA, CTX)
    assert asked.spent == 13


def test_both_ask_if_either_does() -> None:
    independent = create("substitute", "independent")
    jacobian = create("substitute", "jacobian")

    def traits(a: Substitute, b: Substitute) -> tuple[bool, Access]:
        found = create("substitute", "both", first=a, second=b).traits
        return found.queries, found.access

    assert traits(independent, independent) == (False, Access.LABELS)
    assert traits(independent, jacobian) == traits(jacobian, independent) == (True, Access.LABELS)

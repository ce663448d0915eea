"""Rows of toy boards, made of counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnoise.building import spec_of
from robustnoise.compose import Identity
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.tally import Tally

Right = Sequence[int] | npt.NDArray[Any]

BOARD = """
schema = 1
name = "toy"
[data]
name = "digits"
evaluation = 100
[threat]
norm = "linf"
eps = 0.1
access = "scores"
[run]
model = "mlp"
draws = 10
[victims]
plain = "plain-training"
other = "pgd-training(eps=0.1)"
noisy = "plain-training | layer-noise(snr_db=20)"
[attacks]
null = "null"
transfer = "transfer(independent, pgd)"
second = "transfer(independent, mi-fgsm)"
asking = "transfer(jacobian, pgd)"
audit = "audit(pgd)"
"""


def tally(right: Right, draws: int = 1, select: Right | None = None) -> Tally:
    counts = np.asarray(right).astype(np.uint16)
    chosen = None if select is None else np.asarray(select).astype(np.uint16)
    return Tally(counts, np.zeros(len(counts), np.uint16), chosen, draws)


def arm(name: str, clean: Tally, adversarial: Tally | None, digest: str = "weights") -> Arm:
    victim = {"name": name, "defense": spec_of(Identity()).to_json(), "text": name, "model": None, "digest": digest}
    return Arm(victim, clean.draws > 1, 1, clean, adversarial, 0, None)


def row(
    name: str,
    attack: str | None,
    right: Tally,
    *,
    clean: Tally | None = None,
    scope: str = "shared",
    seed: int = 0,
    digest: str = "weights",
    reference: Arm | None = None,
) -> EvaluationRecord:
    """A row of `name` under `attack`, or on clean images where it is None; all clean images are right by default."""
    n = len(right.right)
    clean = clean or (right if attack is None else tally(np.full(n, right.draws), right.draws))
    setting = {
        "data": {"name": "digits", "sizes": {}},
        "threat": None,
        "budget": None,
        "draws": 10,
        "seed": seed,
        "block": 1,
        "identity": 1,
    }
    spec = {
        "name": attack,
        "text": attack,
        "scope": scope,
        "null": attack == "null",
        "spec": {"kind": "attack", "name": attack, "version": 1, "params": {}, "children": {}},
    }
    mine = arm(name, clean, None if attack is None else right, digest)
    return EvaluationRecord(setting, None if attack is None else spec, mine, reference, None, 0.0, {})

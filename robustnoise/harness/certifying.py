"""Certifies a classifier image by image: every `ROWS` images are a cell of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustnoise.blocks import BLOCK
from robustnoise.certificates import Certificates
from robustnoise.data import Split
from robustnoise.errors import BadParameter
from robustnoise.harness.arithmetic import arithmetic
from robustnoise.harness.provenance import provenance
from robustnoise.protocols import Classifier, Progress, Silent, Smoothed
from robustnoise.seeds import SeedStream
from robustnoise.store import Store, pack_arrays, unpack_arrays

ROWS = 16
"""Images of a cell; a run that is killed loses no more."""
N0, N, ALPHA = 100, 1000, 0.001
"""Noisy images that select, noisy images that count, and the error, where nobody says otherwise. The paper's n is
100,000; 1,000 certify up to 2.46 sigma, 10,000 up to 3.20 sigma."""


def certify(
    victim: Classifier,
    images: Split,
    store: Store,
    *,
    sigma: float | None = None,
    n0: int = N0,
    n: int = N,
    alpha: float = ALPHA,
    seed: int = 0,
    threads: int = 2,
    device: str = "cpu",
    named: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Certificates:
    """Certificates of `victim` on `images`; they don't depend on which other images there are, or in which order.

    Args:
        victim: a smoothed classifier, or any other, which is then smoothed here with `sigma`.
        images: with their true labels.
        store: where cells are kept.
        sigma: standard deviation of the noise, pixels in [0, 1]; None takes the victim's own.
        n0: noisy images that select a class.
        n: noisy images that count its answers.
        alpha: bound on the probability that a certificate is wrong.
        seed: of the noise.
        threads: torch threads.
        device: where the victim's network is.
        named: more of the victim's identity: name, text, ...
        progress: where to report.

    Raises:
        BadParameter: no sigma, two of them, or a number out of range.
    """
    base, sigma = _smoothed(victim, sigma)
    _check(n0, n, alpha)
    progress = progress or Silent()
    origin, started = provenance(), time.monotonic()
    seeds = SeedStream(seed, ("certify",))
    base_digest = base.digest
    meter = progress.start("certify", len(images))
    selected, hits = np.zeros((2, len(images)), np.int64)
    with arithmetic(threads, device):
        for start in range(0, len(images), ROWS):
            part = slice(start, min(start + ROWS, len(images)))
            rows = Split(
                images.ids[part], images=images.images[part], labels=images.labels[part],
                num_classes=images.num_classes, name=images.name,
            )  # fmt: skip
            inputs = {
                "base": base_digest,
                "images": rows.digest,
                "sigma": sigma,
                "n0": n0,
                "n": n,
                "block": BLOCK,
                "seed": seed,
                "threads": threads,
                "device": device,
                "torch": torch.__version__,
            }
            cell = store.get("certify", inputs)
            if cell is None:
                found = _count(base, rows, sigma, (n0, n), seeds)
                cell = store.put("certify", inputs, {"counts": pack_arrays(found)})
            counts = unpack_arrays(store.read(cell, "counts"))
            selected[part], hits[part] = counts["selected"], counts["hits"]
            meter.advance(len(rows))
    setting = {
        "images": images.digest,
        "split": images.name,
        "sigma": sigma,
        "n0": n0,
        "n": n,
        "alpha": alpha,
        "seed": seed,
        "block": BLOCK,
    }
    return Certificates(
        setting=setting,
        victim={**(named or {}), "digest": base_digest},
        ids=images.ids,
        labels=images.labels,
        selected=selected,
        hits=hits,
        provenance=origin | {"seconds": round(time.monotonic() - started, 1)},
    )


def _smoothed(victim: Classifier, sigma: float | None) -> tuple[Classifier, float]:
    """The classifier under the noise, and its standard deviation."""
    if not isinstance(victim, Smoothed):
        if sigma is None:
            raise BadParameter(
                "certify: the victim isn't smoothed. Put smoothing(sigma=...) at the end of its stack, or say sigma "
                "(--sigma)."
            )
        if not sigma > 0:
            raise BadParameter(f"certify: sigma = {sigma}: expected a number above 0, such as 0.25.")
        return victim, float(sigma)
    if sigma not in (None, victim.sigma):
        raise BadParameter(
            f"certify: sigma = {sigma}, but the victim is smoothed with {victim.sigma} already. Leave sigma out, "
            "or take smoothing out of the stack."
        )
    return victim.base, float(victim.sigma)


def _check(n0: int, n: int, alpha: float) -> None:
    for name, value in (("n0", n0), ("n", n)):
        if not 1 <= value <= 10_000_000:
            raise BadParameter(f"certify: {name} = {value}: expected 1 to 10,000,000 noisy images.")
    if not 0 < alpha < 1:
        raise BadParameter(f"certify: alpha = {alpha}: expected a number inside (0, 1), such as 0.001.")
    if alpha ** (1 / n) <= 0.5:
        raise BadParameter(
            f"certify: n = {n}: at alpha = {alpha:g} so few answers certify nothing, even where all agree. "
            "Expected more."
        )


def _count(base: Classifier, rows: Split, sigma: float, sizes: tuple[int, int], seeds: SeedStream) -> dict[str, Any]:
    """Selected class and hits of every image."""
    n0, n = sizes
    selected, hits = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    for i, x in enumerate(torch.from_numpy(rows.floats())):
        noise = seeds.child(int(rows.ids[i]))
        chosen = count_noisy(base, x, sigma, n0, noise.child("select"))
        if not chosen.any():
            continue
        selected[i] = int(chosen.argmax())
        hits[i] = int(count_noisy(base, x, sigma, n, noise.child("count"))[selected[i]])
    return {"selected": selected, "hits": hits}


def count_noisy(base: Classifier, x: Tensor, sigma: float, n: int, noise: SeedStream) -> Tensor:
    """(num_classes,) int64: how often `n` noisy copies of one image x (C, H, W) get each answer; abstentions none.

    Copies come in blocks of `BLOCK`; block b is drawn from ``noise.child(b)`` whole, however many of it are counted.
    """
    counts = torch.zeros(base.num_classes, dtype=torch.int64)
    for number, first in enumerate(range(0, n, BLOCK)):
        rows = min(BLOCK, n - first)
        stream = noise.child(number)
        draw = torch.randn((BLOCK, *x.shape), generator=stream.generator("noise"))
        # A victim that is paid for by the row is asked for no more than is counted.
        asked = (x + sigma * draw)[: rows if getattr(base, "metered", False) else BLOCK]
        labels = base.predict(asked, noise=stream.child("inner")).labels[:rows].cpu()
        counts += torch.bincount(labels[labels >= 0], minlength=base.num_classes)
    return counts

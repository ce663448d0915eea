"""Somebody else's code runs here: it may draw from global generators and read train flags, and finds both as we say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from robustnoise.seeds import SeedStream


@contextmanager
def seeded_globals(noise: SeedStream) -> Iterator[None]:
    """Let third-party code draw from `noise` through the global CPU generators, and put their state back.

    The same stream gives the same draws, and another stream others: restoring the state alone would give every call the
    same ones.
    """
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    seed = noise.seed("global")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.default_generator.set_state(states[2])


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every part of `module` in eval mode, then each as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode

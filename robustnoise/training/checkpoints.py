"""A training's state at the end of an epoch, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from robustnoise.errors import CorruptArtifact
from robustnoise.store import atomic_write

CHECKPOINT_SECONDS = 2.0
"""A checkpoint is written at the end of an epoch, at most this often."""


class Saved(NamedTuple):
    """What a checkpoint holds beside weights and optimizer."""

    epoch: int
    """Finished epochs."""
    extra: Mapping[str, Tensor] = {}
    """Further tensors of the training, by name."""
    numbers: Mapping[str, int] = {}
    """Further numbers of the training, by name."""


def save(path: Path, fingerprint: str, saved: Saved, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a training; `fingerprint` names the training that it belongs to."""
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v.detach().cpu().contiguous() for k, v in values.items()}
    tensors |= {f"extra.{k}": v.detach().cpu().contiguous() for k, v in saved.extra.items()}
    header = {"epoch": saved.epoch, "fingerprint": fingerprint, **saved.numbers}
    atomic_write(path, to_bytes(tensors, metadata={"checkpoint": json.dumps(header)}))


def resume(path: Path, fingerprint: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> Saved:
    """Load the checkpoint into module and optimizer; 0 epochs without one.

    Raises:
        CorruptArtifact: it can't be read, or belongs to another training.
    """
    if not path.exists():
        return Saved(0)
    try:
        with safe_open(str(path), framework="pt") as file:
            header: dict[str, object] = json.loads(file.metadata()["checkpoint"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        if header.pop("fingerprint") != fingerprint:
            raise ValueError("it belongs to another training")
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below(tensors, "adam.").items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
        module.load_state_dict(_below(tensors, "net."))
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        numbers = {k: int(str(v)) for k, v in header.items()}
        return Saved(numbers.pop("epoch"), _below(tensors, "extra."), numbers)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptArtifact(
            f"{path}: this checkpoint can't be resumed: {error}. Delete the file; training then starts anew."
        ) from None


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

"""A training's state at the end of an epoch, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from robustnoise import tensorfile
from robustnoise.errors import CorruptArtifact, StoreError
from robustnoise.store import atomic_write

Optimizers = Mapping[str, torch.optim.Optimizer]
"""By the name that the file has for each."""

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


def save(path: Path, fingerprint: str, saved: Saved, module: nn.Module, optimizers: Optimizers) -> None:
    """Write the state of a training; `fingerprint` names the training that it belongs to."""
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{k}": v.detach().cpu().contiguous() for k, v in values.items()}
    tensors |= {f"extra.{k}": v.detach().cpu().contiguous() for k, v in saved.extra.items()}
    header = {"epoch": saved.epoch, "fingerprint": fingerprint, **saved.numbers}
    metadata = {"checkpoint": json.dumps(header), tensorfile.SEAL: tensorfile.UNSEALED}
    atomic_write(path, tensorfile.sealed(to_bytes(tensors, metadata=metadata)))


def resume(path: Path, fingerprint: str, module: nn.Module, optimizers: Optimizers) -> Saved:
    """Load the checkpoint into module and optimizers; 0 epochs without one.

    Raises:
        CorruptArtifact: it is damaged, or belongs to another training.
        StoreError: the disk doesn't give it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # there was none, or another run of the same training has just ended
        return Saved(0)
    except OSError as error:
        raise StoreError(f"can't read the checkpoint {path}: {error.strerror or error}.") from error
    try:
        tensors = from_bytes(content)
        if not tensorfile.unbroken(content):
            raise ValueError("its content doesn't match its hash")
        header: dict[str, object] = json.loads(tensorfile.metadata(content)["checkpoint"])
        if header.pop("fingerprint") != fingerprint:
            raise ValueError("it belongs to another training")
        module.load_state_dict(_below(tensors, "net."))
        for name, optimizer in optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(tensors, f"{name}.").items():
                index, quantity = key.split(".")
                state.setdefault(int(index), {})[quantity] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        numbers = {k: int(str(v)) for k, v in header.items()}
        return Saved(numbers.pop("epoch"), _below(tensors, "extra."), numbers)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CorruptArtifact(
            f"{path}: this checkpoint can't be resumed: {error}. Delete the file; training then starts anew."
        ) from None


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

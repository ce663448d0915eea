"""What moves the weights: AdamW alone, or Muon for the hidden layers' matrices and AdamW for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnoise.training.schedule import Schedule

MOMENTUM = 0.6
"""Muon's, as in Jordan's record training of CIFAR-10 (https://github.com/KellerJordan/cifar10-airbench,
airbench94_muon.py). The rest is torch's own: 5 Newton-Schulz steps where Jordan takes 3, and weights that
aren't normalised."""


class Optimizer:
    """AdamW and, where the schedule asks for it, Muon (Jordan et al. 2024), which makes each step orthogonal.

    Muon takes every weight of two axes or more but the output layer's, a kernel as a matrix with a row for each of its
    outputs; what it leaves (scales, shifts, the output layer) is AdamW's.

    Args:
        module: its weights.
        schedule: rates and decay.
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self._module, self._schedule = module, schedule
        self._kernels: list[nn.Parameter] = []
        if schedule.muon:
            self._kernels = [p for p in module.parameters() if p.ndim > 1][:-1]
        hidden = {id(p) for p in self._kernels}
        others = [p for p in module.parameters() if id(p) not in hidden]
        adam = torch.optim.AdamW(others, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        self.parts: dict[str, torch.optim.Optimizer] = {"adam": adam}
        """By the name that checkpoints have for each."""
        self._peaks = {"adam": schedule.learning_rate, "muon": schedule.muon}
        self._matrices = [nn.Parameter(_matrix(p.detach(), p)) for p in self._kernels]
        if self._matrices:
            self.parts["muon"] = torch.optim.Muon(
                self._matrices, lr=schedule.muon, weight_decay=schedule.weight_decay, momentum=MOMENTUM
            )

    def step(self, progress: float) -> None:
        """Move the weights by their gradients, at the rates of `progress` (0 to 1)."""
        for matrix, kernel in zip(self._matrices, self._kernels, strict=True):
            # Views of now: whoever changed the weights meanwhile may have put others in their place.
            matrix.data = _matrix(kernel.detach(), kernel)
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad, kernel)
        for name, part in self.parts.items():
            for group in part.param_groups:
                group["lr"] = self._peaks[name] * self._schedule.share(progress)
            part.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._module.zero_grad(set_to_none=True)
        for matrix in self._matrices:
            matrix.grad = None


def _matrix(values: Tensor, kernel: Tensor) -> Tensor:
    """`values`, laid out like `kernel`, with one row for each output; a view where they lie like that."""
    if kernel.ndim == 4 and not kernel.is_contiguous():  # channels last
        values = values.permute(0, 2, 3, 1)
    return values.reshape(len(values), -1)

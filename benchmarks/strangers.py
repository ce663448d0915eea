"""Attacks of ART, Foolbox and torchattacks, called alike: (net, x, y, eps, seed) to adversarial images in the ball."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Counter(nn.Module):
    """A network that counts the rows it has answered."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        self.rows += len(x)
        out: Tensor = self.inner(x)
        return out


def foolbox_pgd(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float) -> Tensor:
    """Linf PGD with a random start."""
    foolbox = _foolbox()
    torch.manual_seed(seed)
    attack = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=step)
    return _images(attack(_foolbox_model(net), x, y, epsilons=eps)[1])


def art_pgd(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float) -> Tensor:
    """Linf PGD with a random start."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    np.random.seed(seed)  # noqa: NPY002 - ART draws from the global generator
    attack = ProjectedGradientDescentPyTorch(
        art_classifier(net, x),
        eps=eps,
        eps_step=step,
        max_iter=steps,
        num_random_init=1,
        batch_size=1000,
        verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def torchattacks_pgd(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float) -> Tensor:
    """Linf PGD with a random start."""
    from torchattacks import PGD

    torch.manual_seed(seed)
    out: Tensor = PGD(net.eval(), eps=eps, alpha=step, steps=steps)(x, y)
    return out


def torchattacks_mi_fgsm(
    net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float
) -> Tensor:
    """Linf MI-FGSM, which draws nothing."""
    from torchattacks import MIFGSM

    torch.manual_seed(seed)
    out: Tensor = MIFGSM(net.eval(), eps=eps, alpha=step, steps=steps)(x, y)
    return out


def foolbox_mi_fgsm(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float) -> Tensor:
    """Linf MI-FGSM, which draws nothing."""
    _foolbox()
    from foolbox.attacks.mi_fgsm import LinfMomentumIterativeFastGradientMethod

    torch.manual_seed(seed)
    attack = LinfMomentumIterativeFastGradientMethod(steps=steps, abs_stepsize=step)
    return _images(attack(_foolbox_model(net), x, y, epsilons=eps)[1])


def art_mi_fgsm(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, steps: int, step: float) -> Tensor:
    """Linf MI-FGSM, which draws nothing."""
    from art.attacks.evasion import MomentumIterativeMethod

    np.random.seed(seed)  # noqa: NPY002
    attack = MomentumIterativeMethod(
        art_classifier(net, x), eps=eps, eps_step=step, max_iter=steps, batch_size=1000, verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def art_square(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, queries: int) -> Tensor:
    """Linf Square; every image is asked about `queries` times at most."""
    from art.attacks.evasion import SquareAttack

    np.random.seed(seed)  # noqa: NPY002
    model = art_classifier(net, x)
    attack = SquareAttack(model, eps=eps, max_iter=queries, nb_restarts=1, batch_size=1000, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(model.nb_classes, dtype=np.float32)[y.numpy()]))


def torchattacks_square(net: Counter, x: Tensor, y: Tensor, eps: float, *, seed: int, queries: int) -> Tensor:
    """Linf Square; every image is asked about `queries` times at most."""
    from torchattacks import Square

    out: Tensor = Square(net.eval(), eps=eps, n_queries=queries, p_init=0.8, seed=seed)(x, y)
    return out


def art_hop_skip_jump(net: Counter, x: Tensor, y: Tensor, _eps: float, *, seed: int, evaluations: int) -> Tensor:
    """Linf HopSkipJump of `evaluations` iterations; it looks for the nearest wrong image, wherever the ball ends."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    np.random.seed(seed)  # noqa: NPY002

    def predict(batch: Any) -> Any:
        with torch.no_grad():
            return net(torch.from_numpy(np.asarray(batch, np.float32))).softmax(1).numpy()

    model = BlackBoxClassifierNeuralNetwork(predict, tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0))
    attack = HopSkipJump(model, norm=np.inf, max_iter=evaluations, max_eval=1000, init_eval=100, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()]))


def foolbox_hop_skip_jump(net: Counter, x: Tensor, y: Tensor, _eps: float, *, seed: int, evaluations: int) -> Tensor:
    """Linf HopSkipJump of `evaluations` iterations."""
    foolbox = _foolbox()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    attack = foolbox.attacks.HopSkipJumpAttack(
        steps=evaluations, constraint="linf", max_gradient_eval_steps=1000, tensorboard=False
    )
    model, out = _foolbox_model(net), x.clone()
    # An image that is wrong already can't be a start; it is handed in as it is.
    with torch.no_grad():
        right = (net(x).argmax(1) == y).nonzero()[:, 0]
    out[right] = _images(attack(model, x[right], y[right], epsilons=None)[0])
    return out


def has_torchattacks() -> bool:
    """Whether it is installed beside; no dependency of this project."""
    return importlib.util.find_spec("torchattacks") is not None


def _images(x: Any) -> Tensor:
    out: Tensor = x.raw if hasattr(x, "raw") else x
    return out.detach()


def _foolbox() -> Any:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import foolbox

    return foolbox


def _foolbox_model(net: Counter) -> Any:
    return _foolbox().PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")


def art_classifier(net: nn.Module, x: Tensor) -> Any:
    """ART's classifier around a net of 10 classes, as a person builds it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net.eval(), nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )

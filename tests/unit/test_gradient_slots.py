"""The slots of the gradient crafter against known optima, the papers' algorithms written out, and each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    L2,
    BadParameter,
    Context,
    Linf,
    MissingCapability,
    Norm,
    Schedule,
    SeedStream,
    ThreatModel,
    TorchClassifier,
    build,
    create,
    create_model,
    fit,
)
from robustnoise.testing import linear_optimum, linear_toy, toy_model, toy_split
from robustnoise_attacks import FGSM, MIFGSM, PGD, Gradient
from robustnoise_attacks.gradient.engine import uniform_in_ball
from robustnoise_attacks.gradient.objective import LOSSES, Objective
from robustnoise_attacks.gradient.transforms import Pool, gaussian_kernel, resize_and_pad, smooth

SEEDS = SeedStream(3, ("craft",))
SHAPE, CLASSES = (1, 8, 8), 3
TEN = {"steps": 10, "relative_step": 0.1, "random_start": False}


def _images(n: int, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    split = toy_split(n, num_classes=classes, seed=seed)
    return torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())


@pytest.fixture(scope="module")
def trained() -> tuple[TorchClassifier, Tensor, Tensor]:
    """A net that tells which third of the image is brightest."""
    x, _ = _images(300, seed=5)
    y = torch.stack([part.mean((1, 2, 3)) for part in x.split([3, 3, 2], dim=2)], 1).argmax(1)
    return fit(create_model("mlp(hidden=16)", SHAPE, CLASSES), x, y, Schedule(15, 0.02, 50), SEEDS), x[:60], y[:60]


# ------------------------------------------------------------------------------------------------- the engine of before


def _ascend(
    source: TorchClassifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream,
    *, steps: int, relative_step: float, random_start: bool = False, momentum: float | None = None,
) -> Tensor:  # fmt: skip
    """The loop that FGSM, PGD and MI-FGSM were before there were slots; rows were published with it."""
    step = relative_step * threat.eps
    adv = x + uniform_in_ball(x, threat, seeds.generator("start")) if random_start else x.clone()
    velocity = torch.zeros_like(x)
    for number in range(steps):
        leaf = adv.detach().requires_grad_(True)
        loss = functional.cross_entropy(source.logits(leaf, noise=seeds.child("noise", number)), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
        if momentum is None:
            direction = gradient
        else:
            velocity = momentum * velocity + gradient / gradient.abs().flatten(1).sum(1)[:, None, None, None]
            direction = velocity
        if threat.norm is Norm.LINF:
            adv = adv + step * direction.sign()
        else:
            adv = adv + step * direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
        adv = threat.project(x, adv)
    return adv.detach()


@pytest.mark.parametrize("threat", [Linf(0.1), L2(1.0)], ids=lambda t: t.norm.value)
@pytest.mark.parametrize("noisy", [False, True])
def test_the_same_bytes_as_before_there_were_slots(threat: ThreatModel, noisy: bool) -> None:
    source = create_model("small-cnn", SHAPE, CLASSES, seed=1)
    if noisy:
        source = create("defense", "gaussian-input-noise", sigma=0.1).apply(source, Context())
    x, y = _images(50)
    for crafter, how in (
        (FGSM(), {"steps": 1, "relative_step": 1.0}),
        (PGD(7), {"steps": 7, "relative_step": 0.0625, "random_start": True}),
        (MIFGSM(), {"steps": 10, "relative_step": 0.1, "momentum": 1.0}),
    ):
        assert torch.equal(crafter.craft(source, x, y, threat, SEEDS), _ascend(source, x, y, threat, SEEDS, **how))


# --------------------------------------------------------------------------------------------------------- known optima

UPDATES = [{}, {"momentum": 1.0}, {"momentum": 0.5, "nesterov": True}, {"pi": 10.0}, {"momentum": 1.0, "pi": 2.5}]
GRADIENTS = [{}, {"si": 3}, {"vt": 3}, {"random_start": True, "restarts": 2}]


@pytest.mark.parametrize("update", UPDATES, ids=str)
@pytest.mark.parametrize("gradient", GRADIENTS, ids=str)
@pytest.mark.parametrize(("loss", "targeted"), [("ce", "off"), ("cw", "random"), ("logit", "least-likely")])
def test_sign_steps_reach_the_optimum_of_a_linear_model(update: dict, gradient: dict, loss: str, targeted: str) -> None:
    """Of two classes the label to reach is the other one, so that targeted and untargeted attacks want the same."""
    if "pi" in update:  # what is handed on can undo a step, so a pixel must not have to make up for its start
        gradient = {k: v for k, v in gradient.items() if k not in ("random_start", "restarts")}
    toy, (x, y) = linear_toy(), _images(20, 2)
    crafter = Gradient(**{**TEN, "steps": 25, **gradient}, **update, loss=loss, targeted=targeted)
    found = crafter.craft(toy, x, y, Linf(0.1), SEEDS)
    assert torch.allclose(found, linear_optimum(toy, x, y, Linf(0.1)), atol=1e-7)


@pytest.mark.parametrize("update", UPDATES[:3], ids=str)
def test_l2_steps_reach_the_optimum_of_a_linear_model(update: dict) -> None:
    toy, (x, y) = linear_toy(), _images(20, 2)
    x = 0.4 + 0.2 * x  # far from the box
    found = Gradient(**TEN, **update).craft(toy, x, y, L2(0.5), SEEDS)
    assert torch.allclose(found, linear_optimum(toy, x, y, L2(0.5)), atol=1e-5)


def test_a_patchwise_step_under_l2_is_refused() -> None:
    with pytest.raises(BadParameter, match="pi = 10: patch-wise steps are for l-infinity, not l2"):
        create("crafter", "pi-fgsm").craft(linear_toy(), *_images(4, 2), L2(0.5), SEEDS)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"ti": 4}, "ti = 4: expected an odd number"),
        ({"nesterov": True}, "expected momentum above 0"),
        ({"restarts": 2, "random_start": False}, "restarts = 2.*expected random_start = true"),
        ({"loss": "dlr"}, "loss = 'dlr'.*one of ce, cw, logit"),
        ({"targeted": "yes"}, "one of off, random, least-likely"),
    ],
)
def test_what_can_not_be_combined_is_refused(given: dict, match: str) -> None:
    with pytest.raises(BadParameter, match=match):
        Gradient(**given)


# --------------------------------------------------------------------------------------------------------------- losses


def test_losses_are_what_their_names_say() -> None:
    logits, y = torch.tensor([[3.0, 1.0, 0.5, 2.0], [0.0, 4.0, 1.0, 1.0]]), torch.tensor([0, 2])
    assert LOSSES["ce"](logits, y).tolist() == pytest.approx((-logits.log_softmax(1)[[0, 1], y]).tolist())
    assert LOSSES["cw"](logits, y).tolist() == [2 - 3, 4 - 1]
    assert LOSSES["logit"](logits, y).tolist() == [-3, -1]
    assert LOSSES["dlr"](logits, y).tolist() == pytest.approx([-1 / (3 - 1), 3 / (4 - 1)])
    with pytest.raises(BadParameter, match="at least 3 classes, and the source has 2"):
        LOSSES["dlr"](logits[:, :2], torch.zeros(2, dtype=torch.int64))


def test_labels_to_reach_are_drawn_evenly_from_the_others_or_the_least_likely() -> None:
    model, (x, _) = toy_model(num_classes=5), _images(6000)
    y = torch.arange(6000) % 5
    drawn = Objective(model, "ce", x, y, SEEDS, targeted="random").label
    counts = torch.bincount((drawn - y) % 5, minlength=5)
    assert counts[0] == 0
    assert counts[1:].tolist() == pytest.approx([1500] * 4, abs=5 * (6000 * 0.25 * 0.75) ** 0.5)
    logits = model.logits(x, noise=SEEDS)
    label = Objective(model, "ce", x, y, SEEDS, targeted="least-likely").label
    assert bool((label != y).all())
    lowest = logits.argmin(1)
    assert torch.equal(label[lowest != y], lowest[lowest != y])


@pytest.mark.parametrize("loss", ["ce", "cw", "logit"])
@pytest.mark.parametrize("targeted", ["random", "least-likely"])
def test_a_targeted_attack_reaches_its_label(
    trained: tuple[TorchClassifier, Tensor, Tensor], loss: str, targeted: str
) -> None:
    model, x, y = trained
    label = Objective(model, loss, x, y, SEEDS, targeted=targeted).label  # type: ignore[arg-type]
    adv = MIFGSM(loss=loss, targeted=targeted).craft(model, x, y, Linf(0.3), SEEDS)
    assert (model.predict(adv, noise=SEEDS).labels == label).float().mean() > 0.95
    assert (model.predict(x, noise=SEEDS).labels == label).float().mean() < 0.1


# ----------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("side", [1, 3, 5, 15, 99])
def test_the_kernel_sums_to_1_and_falls_off_to_every_side(side: int) -> None:
    kernel = gaussian_kernel(side)
    assert kernel.shape == (side, side)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(kernel, kernel.T)
    assert torch.equal(kernel, kernel.flip(0, 1))
    assert kernel[side // 2, side // 2] == kernel.max()


def test_smoothing_is_a_convolution_channel_by_channel() -> None:
    gradient = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    expected = [[convolve(c.double().numpy(), gaussian_kernel(5).double().numpy(), mode="constant") for c in image]
                for image in gradient]  # fmt: skip
    assert np.allclose(smooth(gradient, 5).numpy(), np.array(expected), atol=1e-6)
    assert torch.equal(smooth(gradient, 1), gradient)


def test_ti_is_a_step_along_the_smoothed_gradient() -> None:
    toy, (x, y) = linear_toy(), _images(6, 2)
    weight = toy.module.get_parameter("1.weight").detach()[0].view(8, 8).double().numpy()
    smoothed = torch.from_numpy(convolve(weight, gaussian_kernel(5).double().numpy(), mode="constant")).float()
    away = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * smoothed.sign()
    assert torch.allclose(FGSM(ti=5).craft(toy, x, y, Linf(0.1), SEEDS), (x + 0.1 * away).clamp(0, 1), atol=1e-7)


def test_resizing_keeps_the_shape_and_puts_the_whole_image_somewhere() -> None:
    x = torch.rand(3, 2, 20, 30, generator=torch.Generator().manual_seed(1)) + 0.5
    places = set()
    for draw in range(30):
        out = resize_and_pad(x, 0.8, SEEDS.generator("di", draw))
        assert out.shape == x.shape
        rows, columns = (out[0, 0] > 0).any(1), (out[0, 0] > 0).any(0)
        height, width = int(rows.sum()), int(columns.sum())
        assert 16 <= height <= 20
        assert 24 <= width <= 30
        assert width == pytest.approx(height * 1.5, abs=1)
        top, left = int(rows.int().argmax()), int(columns.int().argmax())
        inside = out[:, :, top : top + height, left : left + width]
        expected = functional.interpolate(x, (height, width), mode="nearest")
        assert torch.equal(inside, expected)
        assert (out > 0).sum() == inside.numel()
        assert torch.equal(out[1:2], resize_and_pad(x[1:2], 0.8, SEEDS.generator("di", draw)))
        places.add((height, top, left))
    assert len(places) > 15
    assert torch.equal(resize_and_pad(x, 1.0, SEEDS.generator("di")), x)


@pytest.mark.parametrize(
    "change",
    [{"di": 0.0}, {"di": 1.0, "di_scale": 1.0}, {"ti": 1}, {"si": 1}, {"vt": 0}, {"admix": 0}, {"eot": 9}],
    ids=str,
)
def test_a_slot_that_is_off_changes_no_byte(
    trained: tuple[TorchClassifier, Tensor, Tensor], change: dict[str, float]
) -> None:
    model, x, y = trained
    plain = MIFGSM().craft(model, x, y, Linf(0.1), SEEDS)
    assert torch.equal(MIFGSM(**change).craft(model, x, y, Linf(0.1), SEEDS), plain)


@pytest.mark.parametrize("change", [{"di": 1.0}, {"ti": 5}, {"si": 4}, {"vt": 4}, {"nesterov": True}], ids=str)
def test_a_slot_that_is_on_changes_something(
    trained: tuple[TorchClassifier, Tensor, Tensor], change: dict[str, float]
) -> None:
    model, x, y = trained
    plain = MIFGSM().craft(model, x, y, Linf(0.1), SEEDS)
    assert not torch.equal(MIFGSM(**change).craft(model, x, y, Linf(0.1), SEEDS), plain)


def test_partners_are_of_another_class_and_drawn_evenly() -> None:
    pool = Pool.of(toy_split(30, num_classes=3))
    y = torch.arange(9000) % 3
    images = pool.partners(y, SEEDS.generator("admix"))
    which = torch.cdist(images.flatten(1), pool.images.flatten(1) / 255).argmin(1)
    assert bool((pool.labels[which] != y).all())
    counts = torch.bincount(which[y == 1], minlength=30)[pool.labels != 1]
    assert counts.tolist() == pytest.approx([150] * 20, abs=5 * 150**0.5)
    alone = Pool.of(toy_split(1, num_classes=3))
    assert torch.equal(
        alone.partners(torch.zeros(2, dtype=torch.int64), SEEDS.generator("a")), alone.images[[0, 0]] / 255
    )


def test_admix_needs_images_of_the_attackers(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    model, x, y = trained
    data = toy_split(40, first_id=1000)
    admix, plain = create("crafter", "admix"), create("crafter", "mi-fgsm", si=5)
    with pytest.raises(MissingCapability, match=r"admix = 3 mixes in images.*crafter\.informed"):
        admix.craft(model, x, y, Linf(0.1), SEEDS)
    found = admix.informed(data).craft(model, x, y, Linf(0.1), SEEDS)
    scales = plain.craft(model, x, y, Linf(0.1), SEEDS)
    assert not torch.equal(found, scales)
    without = create("crafter", "admix", admix_share=0).informed(data).craft(model, x, y, Linf(0.1), SEEDS)
    assert (without - scales).abs().mean() < 1e-3  # three times the same copies: rounding alone differs
    assert plain.informed(data) is plain


# ----------------------------------------------------------------------------------------------- the papers' algorithms


def _grad(model: TorchClassifier, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    loss = functional.cross_entropy(model.logits(leaf, noise=SEEDS), y, reduction="sum")
    return torch.autograd.grad(loss, leaf)[0]


def _clip(adv: Tensor, x: Tensor, eps: float) -> Tensor:
    return torch.min(torch.max(adv, x - eps), x + eps).clamp(0, 1)


def test_ni_fgsm_written_out(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    model, images, labels = trained
    for x, y in zip(images[:5].split(1), labels[:5].split(1), strict=True):
        adv, g = x, torch.zeros_like(x)
        for _ in range(10):
            ahead = _grad(model, adv + 0.01 * 0.8 * g, y)
            g = 0.8 * g + ahead / ahead.abs().mean()
            adv = _clip(adv + 0.01 * g.sign(), x, 0.1)
        found = create("crafter", "ni-fgsm", momentum=0.8).craft(model, x, y, Linf(0.1), SEEDS)
        assert torch.allclose(found, adv, atol=1e-6)


def test_si_fgsm_written_out(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    model, x, y = trained
    adv, g = x, torch.zeros_like(x)
    for _ in range(10):
        mean = sum((_grad(model, adv / 2**i, y) / 2**i for i in range(4)), torch.zeros_like(x)) / 4
        g = g + mean / mean.abs().sum((1, 2, 3), keepdim=True)
        adv = _clip(adv + 0.01 * g.sign(), x, 0.1)
    assert torch.allclose(MIFGSM(si=4).craft(model, x, y, Linf(0.1), SEEDS), adv, atol=1e-6)


def test_vmi_fgsm_written_out(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    """Algorithm 1 of arXiv 2103.15571, with the crafter's own draws of the neighbours."""
    model, x, y = trained
    adv, g, variance = x, torch.zeros_like(x), torch.zeros_like(x)
    for number in range(6):
        here = _grad(model, adv, y)
        tuned = here + variance
        g = g + tuned / tuned.abs().sum((1, 2, 3), keepdim=True)
        near = [
            1.5 * uniform_in_ball(x, Linf(0.1), SEEDS.generator("near", number, i)) for i in range(1, 6)
        ]  # fmt: skip
        variance = sum((_grad(model, adv + r, y) for r in near), torch.zeros_like(x)) / 5 - here
        adv = _clip(adv + 0.1 / 6 * g.sign(), x, 0.1)
    found = MIFGSM(6, 1 / 6, vt=5).craft(model, x, y, Linf(0.1), SEEDS)
    assert torch.allclose(found, adv, atol=1e-6)


def test_pi_fgsm_written_out(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    """Algorithm 1 of arXiv 2007.06765: what of a tenfold step leaves the ball is handed on to the pixels around."""
    model, images, labels = trained
    kernel = np.ones((3, 3)) / 8
    kernel[1, 1] = 0
    for x, y in zip(images[:5].split(1), labels[:5].split(1), strict=True):
        adv, a = x, np.zeros((8, 8))
        for _ in range(5):
            move = 0.07 * np.sign(_grad(model, adv, y)[0, 0].double().numpy())
            a = a + move
            cut = np.clip(np.abs(a) - 0.1, 0, None) * np.sign(a)
            cut[np.abs(cut) < 1e-9] = 0
            handed = convolve(cut, kernel, mode="constant")
            handed[np.abs(handed) < 1e-9] = 0
            a = a + 0.07 * np.sign(handed)
            adv = _clip(adv + torch.from_numpy(move + 0.07 * np.sign(handed)).float()[None, None], x, 0.1)
        found = create("crafter", "pi-fgsm", steps=5, relative_step=0.1, pi=7).craft(model, x, y, Linf(0.1), SEEDS)
        assert torch.allclose(found, adv, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------- metamorphic

STILL = ["fgsm", "mi-fgsm", "ni-fgsm", "di-fgsm", "ti-fgsm", "si-ni-fgsm", "pi-fgsm", "cw-pgd(random_start=false)"]


@pytest.mark.parametrize("text", STILL)
def test_order_and_split_of_the_batch_do_not_matter(trained: tuple[TorchClassifier, Tensor, Tensor], text: str) -> None:
    model, x, y = trained
    crafter = build(text, "crafter")
    whole = crafter.craft(model, x, y, Linf(0.1), SEEDS)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    assert torch.allclose(crafter.craft(model, x[order], y[order], Linf(0.1), SEEDS), whole[order], atol=1e-6)
    parts = [crafter.craft(model, x[i : i + 20], y[i : i + 20], Linf(0.1), SEEDS) for i in (0, 20, 40)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.5)], ids=lambda t: t.norm.value)
@pytest.mark.parametrize("name", ["pgd", "cw-pgd", "mi-fgsm", "vmi-fgsm"])
def test_more_steps_do_not_hurt_much(
    trained: tuple[TorchClassifier, Tensor, Tensor], name: str, threat: ThreatModel
) -> None:
    model, x, y = trained
    losses = []
    for steps in (2, 5, 10, 20):
        crafter = create("crafter", name, steps=steps, relative_step=2 / steps)
        adv = crafter.craft(model, x, y, threat, SEEDS)
        losses.append(functional.cross_entropy(model.logits(adv, noise=SEEDS), y).item())
    assert all(later > 0.98 * earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] > losses[0]


@pytest.mark.adapter
def test_mi_fgsm_is_that_of_art(trained: tuple[TorchClassifier, Tensor, Tensor]) -> None:
    from art.attacks.evasion import MomentumIterativeMethod
    from art.estimators.classification import PyTorchClassifier

    model, x, y = trained
    theirs = PyTorchClassifier(model.module, torch.nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=(0, 1))
    attack = MomentumIterativeMethod(theirs, eps=0.1, eps_step=0.02, max_iter=8, decay=0.9, verbose=False)
    adv = torch.from_numpy(attack.generate(x.numpy(), functional.one_hot(y, CLASSES).numpy()))
    ours = MIFGSM(8, 0.2, momentum=0.9).craft(model, x, y, Linf(0.1), SEEDS)
    same = torch.isclose(ours, adv, atol=1e-5).float().mean()
    assert same > 0.99, same

"""ART's preprocessors behind the adapter, and random resizing: against Pillow, scipy and torch."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import BadParameter, Context, Defense, MissingExtra, SeedStream, TorchClassifier, build
from robustnoise.testing import toy_model, toy_split
from robustnoise_defenses import JPEG, BitDepth, MedianSmoothing, RandomResize
from robustnoise_defenses.inputs import art as adapter
from robustnoise_defenses.inputs.resizing import shrinking

NOISE = SeedStream(0, ("victim",))
CTX = Context()
ART = [JPEG(50), BitDepth(2), MedianSmoothing(3)]
COLOUR = torch.from_numpy(toy_split(6, (3, 16, 16)).floats())
GREY = torch.from_numpy(toy_split(6, (1, 16, 16)).floats())


def seen(defense: Defense, x: Tensor, stream: int = 0) -> Tensor:
    """What the network behind `defense` sees."""
    shape = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))
    looking = TorchClassifier(nn.Flatten(), shape, x[0].numel())
    answer = defense.apply(looking, CTX).predict(x, noise=NOISE.child(stream))
    assert answer.logits is not None
    return answer.logits.view(x.shape)


# ----------------------------------------------------------------------------------------------------------------- ART


def jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("quality", [10, 75])
def test_jpeg_is_pillows_on_rounded_pixels_in_colour_and_in_grey(quality: int) -> None:
    # Half a level off the 8 bits: truncation would take a whole level away.
    for x in (COLOUR, COLOUR + 0.4 / 255, COLOUR - 0.4 / 255):
        found = seen(JPEG(quality), x.clamp(0, 1))
        levels = (COLOUR * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        expected = np.stack([jpeg(image, quality) for image in levels])
        assert np.array_equal((found * 255).round().permute(0, 2, 3, 1).numpy(), expected)
    levels = (GREY[:, 0] * 255).round().to(torch.uint8).numpy()
    expected = np.stack([jpeg(image, quality) for image in levels])
    assert np.array_equal((seen(JPEG(quality), GREY)[:, 0] * 255).round().numpy(), expected)


def test_jpeg_keeps_an_even_image_and_loses_more_at_lower_quality() -> None:
    even = torch.full((1, 3, 16, 16), 128 / 255)
    torch.testing.assert_close(seen(JPEG(75), even), even, atol=1e-6, rtol=0)
    lost = [float((seen(JPEG(q), COLOUR) - COLOUR).abs().mean()) for q in (5, 40, 80, 100)]
    assert lost == sorted(lost, reverse=True)
    assert len(set(lost)) == 4


def test_bit_depth_rounds_to_the_nearest_level() -> None:
    ramp = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    assert torch.unique(seen(BitDepth(1), ramp)).tolist() == [0.0, 1.0]
    torch.testing.assert_close(seen(BitDepth(3), ramp), (ramp * 7).round() / 7)
    torch.testing.assert_close(seen(BitDepth(8), GREY), GREY)
    twice = seen(BitDepth(3), seen(BitDepth(3), GREY))
    assert torch.equal(twice, seen(BitDepth(3), GREY))


def test_the_median_is_scipys_channel_by_channel() -> None:
    dot = torch.zeros(1, 3, 16, 16)
    dot[0, 1, 5, 5] = 1
    assert not seen(MedianSmoothing(3), dot).any()
    expected = np.stack([[ndimage.median_filter(c, 3, mode="reflect") for c in image] for image in COLOUR.numpy()])
    assert np.array_equal(seen(MedianSmoothing(3), COLOUR).numpy(), expected)
    model = toy_model()
    assert MedianSmoothing(1).apply(model, CTX) is model


@pytest.mark.parametrize("defense", ART, ids=lambda d: type(d).__name__)
def test_pixels_that_noise_took_out_of_range_are_clipped(defense: Defense) -> None:
    outside = COLOUR * 3 - 1
    found = seen(defense, outside)
    assert torch.equal(found, seen(defense, outside.clamp(0, 1)))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    victim = build("gaussian-input-noise(0.5)", "defense") | defense
    victim.apply(toy_model(), CTX).predict(torch.rand(4, 1, 8, 8), noise=NOISE)


@pytest.mark.parametrize("defense", ART, ids=lambda d: type(d).__name__)
def test_gradients_pass_straight_through(defense: Defense) -> None:
    """The network's gradient at the changed image is taken for the gradient at the image."""
    model, x = toy_model(), torch.from_numpy(toy_split(8).floats())
    victim = defense.apply(model, CTX)
    leaf = x.clone().requires_grad_(True)
    logits = victim.logits(leaf, noise=NOISE)  # type: ignore[attr-defined]
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    changed = seen(defense, x).clone().requires_grad_(True)
    beneath = model.logits(changed, noise=NOISE)
    assert torch.equal(beneath, logits)
    assert torch.equal(gradient, torch.autograd.grad(beneath[:, 0].sum(), changed)[0])


def test_layer_noise_behind_a_preprocessor_has_gradients_too() -> None:
    victim = build("jpeg(50) | layer-noise(20, power=sample)", "defense").apply(toy_model(), CTX)
    leaf = torch.rand(4, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(victim.logits(leaf, noise=NOISE)[:, 0].sum(), leaf)  # type: ignore[attr-defined]
    assert bool((gradient != 0).any())


def test_versions_of_what_does_the_work_are_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    now = JPEG(50).apply(model, CTX).digest
    assert now == JPEG(50).apply(model, CTX).digest != JPEG(51).apply(model, CTX).digest
    monkeypatch.setattr(adapter, "version", lambda _: "0.0")
    assert JPEG(50).apply(model, CTX).digest != now


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> object:
        raise ImportError("No module named 'art'")

    monkeypatch.setattr(adapter, "import_quietly", missing)
    with pytest.raises(MissingExtra, match="JPEG needs the package 'art'.*pip install"):
        JPEG().apply(toy_model(), CTX)


@pytest.mark.parametrize("text", ["jpeg(0)", "jpeg(101)", "bit-depth(0)", "median-smoothing(0)", "random-resize(0)"])
def test_values_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        build(text, "defense")


# ------------------------------------------------------------------------------------------------------ random resizing


@pytest.mark.parametrize(("side", "size"), [(16, 12), (28, 25), (32, 32), (9, 1)])
def test_shrinking_is_torchs_bilinear_interpolation_and_padding(side: int, size: int) -> None:
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for start in {0, (side - size) // 2, side - size}:
        matrix = shrinking(side, torch.tensor([size]), torch.tensor([start]))[:, None]
        found = matrix @ x @ matrix.transpose(2, 3)
        small = functional.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=False)
        rest = side - size - start
        torch.testing.assert_close(found, functional.pad(small, (start, rest, start, rest)))


def test_an_even_image_shows_a_square_of_every_size_and_place_about_equally_often() -> None:
    """Sides 14 to 16 of 16, at 3, 2 and 1 places a direction."""
    white = torch.ones(128, 1, 16, 16)
    found = torch.cat([seen(RandomResize(0.875), white, stream) for stream in range(8)])[:, 0]
    assert torch.equal(found, found.round())
    tall, wide = found.amax(2).sum(1), found.amax(1).sum(1)
    assert torch.equal(tall, wide)
    sizes = [int((tall == s).sum()) for s in (14, 15, 16)]
    assert sum(sizes) == 1024
    assert max(abs(k - 1024 / 3) for k in sizes) < 4 * (1024 * 2 / 9) ** 0.5
    tops = found.amax(2).argmax(1)[tall == 14]
    lefts = found.amax(1).argmax(1)[tall == 14]
    places = torch.bincount(3 * tops + lefts, minlength=9).double()
    n = float(places.sum())
    assert len(places) == 9
    assert float((places - n / 9).abs().max()) < 4 * (n * 8 / 81) ** 0.5


def test_images_of_full_size_are_left_as_they_are_and_others_move() -> None:
    found = seen(RandomResize(0.9), GREY.repeat(20, 1, 1, 1))
    same = (found == GREY.repeat(20, 1, 1, 1)).flatten(1).all(1)
    assert 10 < int(same.sum()) < 80  # one of the three sizes that 0.9 leaves


def test_gradients_flow_through_the_draws_that_the_answer_had() -> None:
    """The map is linear: the gradient of a weighted sum is the transposed map of the weights."""
    model = toy_model()
    victim = RandomResize(0.7).apply(model, CTX)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    leaf = x.clone().requires_grad_(True)
    changed = victim.change(leaf, NOISE)  # type: ignore[attr-defined]
    (gradient,) = torch.autograd.grad(changed.sum(), leaf)
    shifted = victim.change(x + 0.25 * gradient, NOISE)  # type: ignore[attr-defined]
    torch.testing.assert_close(
        (shifted - changed.detach()).flatten(1).sum(1), 0.25 * (gradient**2).flatten(1).sum(1), atol=1e-4, rtol=1e-4
    )
    answer = victim.predict(x, noise=NOISE).logits
    torch.testing.assert_close(answer, victim.logits(x, noise=NOISE))  # type: ignore[attr-defined]

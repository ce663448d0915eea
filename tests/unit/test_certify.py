"""Certificates against toys where the smoothed classifier is known exactly, and the bound against two libraries."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor
from typer.testing import CliRunner

import robustnoise as rn
from robustnoise import stats
from robustnoise.api import Answer, BadParameter, Context, SeedStream, Split, build
from robustnoise.certificates import Certificates
from robustnoise.cli.app import app
from robustnoise.report.certificates import certified_curve, curve_csv, images_csv, radii, verdict
from robustnoise.testing import linear_toy, toy_model, toy_split
from robustnoise.testing.toys import CoinClassifier

# ------------------------------------------------------------------------------------------------------------ the bound


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_the_bound_is_that_of_scipy_and_of_statsmodels(alpha: float) -> None:
    for right, n in [(0, 5), (1, 5), (4, 5), (5, 5), (37, 100), (999, 1000), (1000, 1000), (50_001, 100_000)]:
        found = stats.clopper_pearson_low(right, n, alpha)
        expected = scipy_stats.beta.ppf(alpha, right, n - right + 1) if right else 0.0
        assert found == pytest.approx(expected, rel=1e-9)
        # A two-sided interval at 2 alpha has alpha on either side.
        assert found == pytest.approx(proportion_confint(right, n, 2 * alpha, method="beta")[0], rel=1e-9)


def test_all_hits_give_the_bound_in_closed_form() -> None:
    assert stats.clopper_pearson_low(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000), rel=1e-12)


@pytest.mark.parametrize("n", [10, 57])
@pytest.mark.parametrize("alpha", [0.001, 0.1])
def test_the_bound_is_above_the_truth_with_probability_alpha_at_most(n: int, alpha: float) -> None:
    """Counted out exactly over all outcomes, for many true probabilities."""
    bounds = np.array([stats.clopper_pearson_low(k, n, alpha) for k in range(n + 1)])
    misses = [scipy_stats.binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() for p in np.linspace(0.01, 0.99, 197)]
    assert max(misses) <= alpha * (1 + 1e-9)
    assert max(misses) > alpha / 3  # it isn't wasteful either


@pytest.mark.parametrize(("args", "said"), [((1, 0, 0.1), "n is 0"), ((3, 2, 0.1), "right is 3"), ((1, 2, 1), "alpha")])
def test_what_is_no_count_is_refused(args: tuple[int, int, float], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        stats.clopper_pearson_low(*args)


# ------------------------------------------------------------------------------------------------- a known smoothed net

SIGMA, ALPHA = 0.5, 0.05


def margins(images: Split) -> np.ndarray:
    """Distances of images from the boundary of `linear_toy`, positive on the side of class 0."""
    weight = linear_toy().module.get_parameter("1.weight").detach()[0].double().numpy()
    return (images.floats().reshape(len(images), -1) - 0.5) @ weight


def half_space(m: int, **changes: object) -> tuple[Certificates, np.ndarray]:
    """Certificates of `linear_toy`, and the true radii of the smoothed net, which are the distances."""
    images = toy_split(m, num_classes=2)
    distance = margins(images)
    right = Split(
        images.ids, images=images.images, labels=(distance < 0).astype(np.int64), num_classes=2, name="half-space"
    )
    known = {"n0": 100, "n": 1000, "alpha": ALPHA, "threads": 1}
    return rn.certify(linear_toy(), right, SIGMA, **(known | changes)), np.abs(distance)  # type: ignore[arg-type]


def test_no_certificate_of_a_half_space_exceeds_the_distance_but_with_probability_alpha() -> None:
    found, distance = half_space(128)
    exceeding = int((found.radii > distance).sum())
    assert exceeding <= scipy_stats.binom(128, ALPHA).ppf(1 - 1e-4)
    assert int(((found.answers >= 0) & (found.answers != found.labels)).sum()) <= 2
    # The hits are those of a coin that lands right with probability Phi(distance / sigma).
    p = special.ndtr(distance / SIGMA)
    z = (np.where(found.selected == found.labels, found.hits, 1000 - found.hits) - 1000 * p) / np.sqrt(
        1000 * p * (1 - p) + 1e-9
    )
    assert np.abs(z[p < 0.999]).max() < 4.5


def test_with_many_answers_the_certificate_comes_near_the_distance() -> None:
    gaps = []
    for n in (200, 5000):
        found, distance = half_space(24, n=n, alpha=0.001)
        inside = distance < 1.5 * SIGMA
        gaps.append(float((distance - found.radii)[inside].mean()))
    assert 0 < gaps[1] < gaps[0] / 2
    assert gaps[1] < 0.06


class Ball:
    """Class 0 inside a ball of radius `size` around the grey image, of 16 pixels, class 1 outside."""

    num_classes, input_shape, stochastic, digest, passes = 2, (1, 4, 4), False, "ball", 1

    def __init__(self, size: float) -> None:
        self.size = size

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(((x - 0.5).flatten(1).norm(dim=1) > self.size).long())


def test_certificates_of_a_ball_stay_inside_what_noncentral_chi_squares_say() -> None:
    """They give P(class 0) at a distance from the centre; the smoothed answer changes where it is 1/2."""
    size = 1.5
    images = toy_split(48, (1, 4, 4), 2, seed=3)
    # Two thirds of the images go towards the centre.
    shrunk = (127.5 + (images.images - 127.5) * np.linspace(0, 1, 48)[:, None, None, None]).round().astype(np.uint8)
    images = Split(images.ids, images=shrunk, labels=images.labels, num_classes=2, name="ball")
    sigma = 0.25
    distance = np.linalg.norm(images.floats().reshape(48, -1).astype(float) - 0.5, axis=1)

    def inside(d: float) -> float:
        return float(scipy_stats.ncx2.cdf((size / sigma) ** 2, 16, (d / sigma) ** 2 + 1e-12))

    grid = np.linspace(0, 3, 6001)
    edge = grid[np.argmin([abs(inside(d) - 0.5) for d in grid])]
    found = rn.certify(Ball(size), images, sigma, n=1000, alpha=0.001, threads=1)
    certified = found.radii > 0
    assert certified.sum() > 30
    assert bool((found.radii[certified] <= np.abs(distance - edge)[certified] + 1e-3).all())
    assert bool((found.answers[certified] == (distance > edge)[certified]).all())


def test_a_coin_with_the_hidden_share_p_gets_the_radius_of_p() -> None:
    """Random base classifiers are certified too; what abstains there is no hit."""
    coin = CoinClassifier(0.8, num_classes=3)
    found = rn.certify(coin, toy_split(64), 1.0, n=500, alpha=ALPHA, threads=1)
    assert bool((found.answers == 0).all())
    assert int((found.radii > special.ndtri(0.8)).sum()) <= scipy_stats.binom(64, ALPHA).ppf(1 - 1e-4)
    assert float(found.radii.mean()) == pytest.approx(special.ndtri(0.8), abs=0.15)
    tie = rn.certify(CoinClassifier(0.5, num_classes=2), toy_split(64), 1.0, n=500, alpha=ALPHA, threads=1)
    assert tie.abstained >= 1 - scipy_stats.binom(64, ALPHA).ppf(1 - 1e-4) / 64


# ------------------------------------------------------------------------------------------------------------- the rest


def test_an_image_keeps_its_certificate_among_other_images() -> None:
    model, images = toy_model(), toy_split(40)
    whole = rn.certify(model, images, 1.0, n=200, threads=1)
    some = Split(images.ids[::-3], images=images.images[::-3], labels=images.labels[::-3], num_classes=3, name="some")
    part = rn.certify(model, some, 1.0, n=200, threads=1)
    assert np.array_equal(part.hits, whole.hits[::-3])
    assert len(set(whole.hits.tolist())) > 3
    other = rn.certify(model, images, 1.0, n=200, threads=1, seed=1)
    assert not np.array_equal(other.hits, whole.hits)


def test_more_noise_on_the_boundary_or_a_smaller_alpha_certify_less() -> None:
    sure, _ = half_space(24, alpha=0.3)
    strict, _ = half_space(24, alpha=0.001)
    assert np.array_equal(sure.hits, strict.hits)
    assert bool((strict.radii <= sure.radii).all())
    assert strict.radii.sum() < sure.radii.sum()


class Counting:
    """Asks another and counts."""

    def __init__(self, inner: object) -> None:
        self.inner, self.asked = inner, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        self.asked += len(x)
        found: Answer = self.inner.predict(x, noise=noise)  # type: ignore[attr-defined]
        return found


def test_what_is_certified_is_kept(tmp_path: Path) -> None:
    model, images = Counting(toy_model()), toy_split(20)
    first = rn.certify(model, images.take(16), 1.0, n=100, threads=1, store=tmp_path)  # type: ignore[arg-type]
    asked = model.asked
    again = rn.certify(model, images, 1.0, n=100, alpha=0.1, threads=1, store=tmp_path)  # type: ignore[arg-type]
    assert np.array_equal(again.hits[:16], first.hits)
    assert model.asked == asked * 20 // 16


def test_a_smoothed_victim_brings_its_noise() -> None:
    model, images = toy_model(), toy_split(8)
    smooth = build("smoothing(sigma=1.0, passes=20)", "defense").apply(model, Context())
    assert np.array_equal(
        rn.certify(smooth, images, n=100, threads=1).hits, rn.certify(model, images, 1.0, n=100, threads=1).hits
    )
    with pytest.raises(BadParameter, match=r"smoothed with 1.0 already"):
        rn.certify(smooth, images, 0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sigma": None}, "isn't smoothed"),
        ({"sigma": 0.0}, "sigma = 0.0"),
        ({"sigma": float("nan")}, "sigma = nan"),
        ({"n": 9}, "n = 9.*certify nothing"),
        ({"n0": 0}, "n0 = 0"),
        ({"alpha": 0.0}, "alpha = 0.0"),
    ],
)
def test_what_could_certify_nothing_is_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        rn.certify(toy_model(), toy_split(4), **({"sigma": 1.0} | changes))  # type: ignore[arg-type]


def made(hits: list[int], labels: list[int], n: int = 1000) -> Certificates:
    setting = {"sigma": 0.25, "n0": 100, "n": n, "alpha": 0.001, "seed": 0, "split": "evaluation", "images": "x"}
    ids = np.arange(len(hits))
    return Certificates(
        setting, {"digest": "d"}, ids, np.array(labels), np.zeros(len(hits), np.int64), np.array(hits), {}
    )


def test_certified_accuracy_falls_from_the_right_certified_images_to_nothing() -> None:
    found = made([1000, 1000, 900, 520, 1000], [0, 0, 0, 0, 1])
    assert found.answers.tolist() == [0, 0, 0, -1, 0]
    assert found.largest == pytest.approx(0.25 * special.ndtri(0.001**0.001))
    assert found.radii[0] == pytest.approx(found.largest)
    assert [found.accuracy(r) for r in (0.0, 0.2, 0.5, found.largest + 1e-9)] == [0.6, 0.6, 0.4, 0.0]
    assert found.interval(0.0) == stats.wilson(3, 5)
    assert found.abstained == 0.2
    assert found.average_radius == pytest.approx(found.radii[:3].sum() / 5)
    at = radii(found)
    assert at[0] == 0
    assert at[-1] > found.largest
    shares = [found.accuracy(r) for r in at]
    assert shares == sorted(shares, reverse=True)
    assert "60.0 [" in verdict(found, "net")
    assert "20.0 % are abstentions" in verdict(found, "net")


def test_tables_and_curve_say_the_same() -> None:
    found = made([1000, 900, 520], [0, 0, 0])
    lines = list(csv.DictReader(io.StringIO(images_csv(found))))
    assert [line["answer"] for line in lines] == ["0", "0", "-1"]
    assert float(lines[1]["radius"]) == found.radii[1]
    curve = {float(line["radius"]): float(line["certified"]) for line in csv.DictReader(io.StringIO(curve_csv(found)))}
    assert (curve[0], curve[0.42]) == (2 / 3, 1 / 3)
    (line,) = certified_curve(found, "net").lines
    assert {p.x: p.accuracy.value for p in line.points} == curve
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [image["hits"] for image in plain["outcome"]["images"]] == [1000, 900, 520]


def test_the_command_trains_certifies_shows_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    options = ["--data", "digits", "--model", "mlp(hidden=16)", "--images", "12", "--n", "100"]
    stack = "plain-training(epochs=1) | smoothing(sigma=1/4)"
    output = tmp_path / "out"
    done = CliRunner().invoke(app, ["certify", stack, *options, "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert "12 images of evaluation" in done.output
    assert sorted(p.name for p in output.iterdir()) == ["certified.svg", "curve.csv", "images.csv"]
    done = CliRunner().invoke(app, ["certify", "plain-training(epochs=1)", *options, "--sigma", "1/4", "--json"])
    found = json.loads(done.stdout)
    hits = [line["hits"] for line in csv.DictReader(io.StringIO((output / "images.csv").read_text()))]
    assert [str(image["hits"]) for image in found["outcome"]["images"]] == hits
    assert isinstance(CliRunner().invoke(app, ["certify", "plain-training", *options]).exception, BadParameter)
    assert "expected a victim" in str(CliRunner().invoke(app, ["certify"]).exception)
    wrong = CliRunner().invoke(app, ["certify", "plain-training", *options, "--sigma", "much"])
    assert "--sigma much" in str(wrong.exception)


def test_paid_answers_are_asked_for_as_many_as_are_counted() -> None:
    model = Counting(toy_model())
    model.metered = True
    paid = rn.certify(model, toy_split(2), 1.0, n0=10, n=150, threads=1)  # type: ignore[arg-type]
    assert model.asked == 2 * 160
    assert np.array_equal(paid.hits, rn.certify(toy_model(), toy_split(2), 1.0, n0=10, n=150, threads=1).hits)

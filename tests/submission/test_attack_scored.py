"""Submitted images are scored as any attack's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.board import board_from
from robustnoise.harness.bench import Bench
from robustnoise.harness.given import claims_within
from robustnoise.harness.runner import run
from robustnoise.leaderboard import Leaderboard
from robustnoise.store import Store, unpack_arrays
from robustnoise.submission.submit import prepare
from robustnoise.threat import Access, Budget, Norm, ThreatModel
from tests.submission.conftest import BOARD, CARD, cli, evaluation, rows, shifted


def test_rows_are_those_of_any_attack_and_are_published(
    board: Leaderboard, handed_in: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(handed_in / "images.npy", shifted(board))
    out, target = tmp_path / "out", tmp_path / "target"
    target.mkdir()
    (target / "board.toml").write_text(BOARD)
    assert cli("board", "submit", str(handed_in), str(target), "--output", str(out)) == 0
    views = {(v.victim, v.attack): v for v in Leaderboard(out).contents().rows}
    assert set(views) == {(v, a) for v in ("plain", "noisy") for a in ("null", "darker")}
    assert views["plain", "darker"].scored.single.value < views["plain", "null"].scored.single.value
    assert views["noisy", "darker"].against == "plain"
    assert views["noisy", "darker"].delta is not None
    assert all(Leaderboard(out).ranked(r) for r in Leaderboard(out).rows())
    assert {v.scope for v in views.values() if v.attack == "darker"} == {"shared"}
    submitted = [r["identity"]["attack"] for r in rows(out) if r["identity"]["attack"]["name"] == "darker"]
    assert all(a["submitted"]["card"]["authors"] == ["A. Author"] for a in submitted)
    assert cli("board", "publish", str(out), str(target)) == 0
    assert "4 of 4 rows published" in capsys.readouterr().out
    summary = Leaderboard(target).contents().summary
    assert all(s.null is not None for s in summary)
    assert Leaderboard(target).verify() == []


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 1.5)])
def test_what_is_scored_is_what_was_handed_in(tmp_path: Path, norm: str, eps: float) -> None:
    (tmp_path / "board.toml").write_text(BOARD.replace('"linf"\neps = 0.2', f'"{norm}"\neps = {eps}'))
    board = Leaderboard(tmp_path)
    split = evaluation(board)
    x = split.images.copy()
    rng = np.random.default_rng(0)
    if norm == "linf":
        x = shifted(board)
    else:
        for image in x:  # up to the edge of the ball, pixel by pixel
            left = (eps * 255) ** 2
            for at in rng.permutation(64):
                old = int(image.reshape(-1)[at])
                new = int(rng.integers(0, 256))
                if (new - old) ** 2 <= left:
                    left -= (new - old) ** 2
                    image.reshape(-1)[at] = new
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD.replace('"linf"\neps = 0.2', f'"{norm}"\neps = {eps}'))
    np.save(folder / "images.npy", x)
    experiment = prepare(folder, board).experiment
    store = Store(tmp_path / "store")
    bench = Bench(experiment, store)
    arrays = unpack_arrays(store.read(bench.images(experiment.attacks[1], experiment.victims[0]), "images"))
    assert np.array_equal(arrays["x"], x)
    assert np.array_equal(arrays["ids"], split.ids)


def test_an_ids_array_stands_for_any_order(board: Leaderboard, handed_in: Path) -> None:
    split, order = evaluation(board), np.random.default_rng(1).permutation(60)
    x = shifted(board)
    np.savez(handed_in / "images.npz", x=x[order], ids=split.ids[order])
    mixed = prepare(handed_in, board).experiment.attacks[1].given
    (handed_in / "images.npz").unlink()
    np.save(handed_in / "images.npy", x)
    plain = prepare(handed_in, board).experiment.attacks[1].given
    assert mixed is not None
    assert plain is not None
    assert mixed.digests == plain.digests
    assert mixed.images is not None
    assert np.array_equal(mixed.images[""], x)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_exact_floats_of_either_endianness_are_levels(board: Leaderboard, handed_in: Path, dtype: str) -> None:
    x = shifted(board)
    np.save(handed_in / "images.npy", (x / 255).astype(dtype))
    given = prepare(handed_in, board).experiment.attacks[1].given
    assert given is not None
    assert given.images is not None
    assert np.array_equal(given.images[""], x)


def test_images_for_one_victim_leave_the_others_out_and_their_deltas_unmeasured(
    board: Leaderboard, handed_in: Path, tmp_path: Path
) -> None:
    with (handed_in / "card.toml").open("a") as card:
        card.write("[queries]\nper_image = 100\n")
    np.save(handed_in / "noisy.npy", shifted(board))
    submission = prepare(handed_in, board)
    assert list(submission.notes) == []
    found = [r for r in run(submission.experiment, Store(tmp_path / "store")) if r.attack and not r.attack["null"]]
    assert [(r.victim.victim["name"], r.reference, r.undefended) for r in found] == [("noisy", None, None)]
    assert found[0].attack is not None
    assert found[0].attack["scope"] == "per-victim"
    assert found[0].victim.queries == 0  # measured; what is claimed is said apart
    assert "claimed, not measured: 100 queries an image" in found[0].attack["text"]
    assert board.ranked(found[0])


def test_images_for_one_victim_are_published_beside_its_null_control(
    handed_in: Path, cache: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "board", tmp_path / "out"
    folder.mkdir()
    (folder / "board.toml").write_text(BOARD)
    assert cli("run", str(folder), "--output", str(folder)) == 0
    place = Leaderboard(folder)
    ranked = [(s.victim, s.rank_per_victim) for s in place.contents().summary]
    with (handed_in / "card.toml").open("a") as card:
        card.write("[queries]\nper_image = 100\n")
    np.save(handed_in / "noisy.npy", shifted(place))
    assert cli("board", "submit", str(handed_in), str(folder), "--output", str(out)) == 0
    assert cli("board", "publish", str(out), str(folder)) == 0
    assert cli("board", "report", str(folder)) == 0
    assert place.verify() == []
    assert [(s.victim, s.rank_per_victim) for s in place.contents().summary] == ranked
    assert "BUDGET_UNSPENT" not in place.report()


def test_a_claim_is_held_against_every_limit() -> None:
    threat = ThreatModel(Norm.LINF, 0.1, access=Access.LABELS)

    def within(per_image: int | None, total: int | None) -> bool:
        claim = {"card": {"access": "labels", "queries": {"per_image": per_image, "total": total}}}
        return claims_within("per-victim", claim, threat, Budget(per_image=100, total=5_000))

    assert within(100, 5_000)
    assert not within(101, 5_000)
    assert not within(100, 5_001)
    assert not within(100, None)


@pytest.mark.parametrize(
    ("change", "ranked", "scope"),
    [
        (("per_image = 100", "per_image = 100"), True, "per-victim"),
        (("per_image = 100", "per_image = 101"), False, "per-victim"),
        (("per_image = 100", "total = 5"), False, "per-victim"),
        (('data = "none"', 'data = "none"\naccess = "scores"'), False, "per-victim"),
        (('data = "none"', 'data = "none"\naccess = "gradients"'), False, "audit"),
    ],
)
def test_more_than_the_board_gives_is_not_ranked(
    board: Leaderboard, handed_in: Path, change: tuple[str, str], ranked: bool, scope: str
) -> None:
    card = CARD + "[queries]\nper_image = 100\n"
    assert change[0] in card
    (handed_in / "card.toml").write_text(card.replace(*change))
    np.save(handed_in / "plain.npy", shifted(board))
    submission = prepare(handed_in, board)
    attack = submission.experiment.attacks[1].identity()
    victim = submission.experiment.victims[0].identity("d")
    assert attack["scope"] == scope
    assert board.board.ranks(submission.experiment.setting(), attack, victim) == ranked
    assert bool(submission.notes) != ranked


def test_the_challenges_layouts_are_taken_by_the_number_of_the_test_image() -> None:
    import io

    from robustnoise.data import Split
    from robustnoise.submission.folder import File
    from robustnoise.submission.images import Checker
    from robustnoise.threat import Linf

    def file(array: np.ndarray[Any, Any]) -> File:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return File("attack.npy", buffer.getvalue(), "")

    rng = np.random.default_rng(0)
    chosen = rng.permutation(10_000)[:3]
    for name, first, shape in (("mnist", 60_000, (1, 28, 28)), ("cifar10", 50_000, (3, 32, 32))):
        levels = rng.integers(0, 256, (10_000, *shape), dtype=np.uint8)
        split = Split(
            first + chosen, images=levels[chosen], labels=np.zeros(3, np.int64), num_classes=10, name="evaluation"
        )
        if name == "mnist":
            theirs = (levels / 255).astype(np.float32).reshape(10_000, 784)
        else:
            theirs = levels.transpose(0, 2, 3, 1)
        found, problems = Checker(name, split, Linf(0.0)).read(file(theirs))
        assert problems == []
        assert found is not None
        assert np.array_equal(found, levels[chosen])


def test_a_board_of_clean_images_takes_no_attack(handed_in: Path, tmp_path: Path) -> None:
    clean = BOARD[: BOARD.index("[threat]")] + BOARD[BOARD.index("[run]") : BOARD.index("[attacks]")]
    (tmp_path / "board.toml").write_text(clean)
    with pytest.raises(ValueError, match="takes no attacks"):
        prepare(handed_in, Leaderboard(tmp_path))


def test_the_board_of_these_tests_loads() -> None:
    import tomllib

    assert board_from(tomllib.loads(BOARD), "toy").name == "toy"


def test_a_name_stands_for_one_thing(board: Leaderboard, handed_in: Path, cache: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    np.save(handed_in / "images.npy", shifted(board))
    submit = ("board", "submit", str(handed_in), str(board.path), "--output", out)
    assert cli(*submit) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert cli(*submit) == 0  # again: nothing changes
    assert {p: p.read_bytes() for p in before} == before
    np.save(handed_in / "images.npy", shifted(board, 50))
    with pytest.raises(ValueError, match="something else called 'darker'"):
        cli(*submit)
    with pytest.raises(ValueError, match="something else called 'darker'"):
        prepare(handed_in, Leaderboard(out))
    assert {p: p.read_bytes() for p in before} == before


def test_the_name_of_given_images_is_for_ever() -> None:
    from robustnoise.building import spec_of
    from robustnoise.harness.given import GivenImages

    assert spec_of(GivenImages("ab")).canonical() == (
        '{"children":{},"kind":"attack","name":"given-images","params":{"digest":"ab"},"version":1}'
    )

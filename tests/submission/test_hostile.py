"""Damaged and hostile folders: each defect is found and named, before any work."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.errors import BadSubmission
from robustnoise.leaderboard import Leaderboard
from robustnoise.submission.submit import Submission
from tests.submission.conftest import CARD, REACH, cli, evaluation, shifted

Check = Callable[[], Submission]


def refused(check: Check) -> str:
    with pytest.raises(BadSubmission) as caught:
        check()
    return str(caught.value)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def headed(header: str, data: bytes = b"") -> bytes:
    """An npy file with any header."""
    text = header.encode() + b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def zipped(path: Path, members: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


# ------------------------------------------------------------------------------------------------------------- images


def test_one_level_over_eps_is_named_with_image_value_and_limit(
    board: Leaderboard, handed_in: Path, check: Check
) -> None:
    x, split = shifted(board), evaluation(board)
    at = (17, 0, 3, 4)
    x[at] = x[at] + 1 if x[at] > split.images[at] else x[at] - 1
    np.save(handed_in / "images.npy", x)
    said = refused(check)
    assert said == (
        f"images.npy: image {split.ids[17]}: linf distance {(REACH + 1) / 255:.6g} ({REACH + 1} levels); the limit is "
        f"0.2 ({REACH} levels)."
    )


def test_outside_an_l2_ball_is_named(board: Leaderboard) -> None:
    from robustnoise.submission.folder import File
    from robustnoise.submission.images import Checker
    from robustnoise.threat import L2

    split = evaluation(board)
    x = split.images.astype(np.int64)
    x[5, 0, 0, :2] += np.where(x[5, 0, 0, :2] < 128, 30, -30)
    size = 30 * 2**0.5 / 255
    file = File("images.npy", npy(x.astype(np.uint8)), "")
    assert Checker("digits", split, L2(size + 1e-6)).read(file)[1] == []
    (line,) = Checker("digits", split, L2(size - 1e-6)).read(file)[1]
    assert f"image {split.ids[5]}: l2 distance {size:.6g}" in line


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01, -0.01, 0.5001])
def test_what_is_no_8_bit_level_is_named(board: Leaderboard, handed_in: Path, check: Check, value: float) -> None:
    x = shifted(board) / 255
    x[3, 0, 1, 1] = value
    np.save(handed_in / "images.npy", x)
    said = refused(check)
    assert f"images.npy: image {evaluation(board).ids[3]}: holds {value:.9g}" in said
    assert "round inside the ball" in said


def test_half_precision_is_no_exact_level(board: Leaderboard, handed_in: Path, check: Check) -> None:
    np.save(handed_in / "images.npy", (shifted(board) / 255).astype(np.float16))
    assert "no multiple of 1/255" in refused(check)


def test_missing_and_duplicated_images_are_named(board: Leaderboard, handed_in: Path, check: Check) -> None:
    x, ids = shifted(board), evaluation(board).ids.copy()
    np.save(handed_in / "images.npy", x[:-2])
    assert "58 images, 2 missing; the board has 60" in refused(check)
    (handed_in / "images.npy").unlink()
    lost = ids[4]
    ids[4] = ids[9]
    np.savez(handed_in / "images.npz", x=x, ids=ids)
    said = refused(check).splitlines()
    assert f"images.npz: image {ids[9]} is there more than once." in said
    assert f"images.npz: image {lost} is missing." in said
    ids[4] = 10**9
    np.savez(handed_in / "images.npz", x=x, ids=ids)
    assert "image 1000000000 is no evaluation image of the board" in refused(check)


def test_a_wrong_digest_is_named(board: Leaderboard, handed_in: Path, check: Check) -> None:
    np.save(handed_in / "images.npy", shifted(board))
    with (handed_in / "card.toml").open("a") as card:
        card.write(f'[sha256]\n"images.npy" = "{"0" * 64}"\n"other.npy" = "{"1" * 64}"\n')
    said = refused(check)
    assert f"the card says {'0' * 64}" in said
    assert "'other.npy' is none of the files read" in said


def test_everything_wrong_is_named_at_once(board: Leaderboard, handed_in: Path, check: Check) -> None:
    (handed_in / "card.toml").write_text(CARD.replace('"darker"', '"null"').replace("eps = 0.2", "eps = 0.3"))
    x = shifted(board).astype(np.float64) / 255
    x[0, 0, 0, 0] = np.nan
    np.save(handed_in / "plain.npy", x)
    np.save(handed_in / "nosy.npy", x)
    said = refused(check)
    for part in ("attack 'null' already", "allows at most 0.2", "holds nan", "Did you mean 'noisy'", "queries:"):
        assert part in said


def test_arrays_beside_a_bad_card_are_checked_too(board: Leaderboard, handed_in: Path, check: Check) -> None:
    (handed_in / "card.toml").write_text(CARD.replace('data = "none"', "").replace("2026-11-24", '"soon"'))
    np.save(handed_in / "images.npy", shifted(board, REACH + 1))
    said = refused(check)
    for part in ("card.toml: data: must be given", "card.toml: date", "60 images outside the ball"):
        assert part in said


def test_many_bad_images_are_counted(board: Leaderboard, handed_in: Path, check: Check) -> None:
    np.save(handed_in / "images.npy", shifted(board, REACH + 1))
    lines = refused(check).splitlines()
    assert len(lines) == 6
    assert "60 images outside the ball in all" in lines[-1]


# -------------------------------------------------------------------------------------------------------------- files

SHAPE = "'shape': (60, 1, 8, 8)"
FILES = {
    "object": (
        headed(f"{{'descr': '|O', 'fortran_order': False, {SHAPE}}}", b"cos\nsystem\n"),
        "a pickle, which is never loaded",
    ),
    "structured": (
        headed(f"{{'descr': [('a', '|O')], 'fortran_order': False, {SHAPE}}}"),
        "a pickle, which is never loaded",
    ),
    "huge shape": (
        headed("{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 1, 8, 8)}"),
        "999,999,999,999 images",
    ),
    "negative shape": (headed("{'descr': '|u1', 'fortran_order': False, 'shape': (-60, -1, 8, 8)}"), "shape"),
    "another shape": (npy(np.zeros((60, 8, 8), np.uint8)), "expected uint8 of shape (60, 1, 8, 8)"),
    "another dtype": (npy(np.zeros((60, 1, 8, 8), np.int64)), "astype(numpy.uint8)"),
    "complex": (npy(np.zeros((60, 1, 8, 8), np.complex64)), "of complex64"),
    "text": (npy(np.full((60, 1, 8, 8), "x")), "expected uint8"),
    "truncated": (npy(np.zeros((60, 1, 8, 8), np.uint8))[:-1], "truncated"),
    "too long": (npy(np.zeros((60, 1, 8, 8), np.uint8)) + b"?", "There is more in it"),
    "no header": (b"\x93NUMPY", "no npy header"),
    "empty": (b"", "no npy header"),
    "a pickle": (b"\x80\x04cos\nsystem\n", "no npy header"),
    "nested header": (headed("(" * 5000), "no npy header"),
    "long header": (
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{" * 20_000,
        "no npy header",
    ),
    "version 3": (b"\x93NUMPY\x03\x00" + npy(np.zeros(1, np.uint8))[8:], "npy version (3, 0)"),
    "code in the header": (headed("__import__('os').abort()"), "no npy header"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_npy(handed_in: Path, check: Check, name: str) -> None:
    content, message = FILES[name]
    (handed_in / "images.npy").write_bytes(content)
    said = refused(check)
    assert "images.npy" in said
    assert message in said
    assert "\n" not in said


def test_fortran_order_is_read_as_it_is_meant(board: Leaderboard, handed_in: Path, check: Check) -> None:
    np.save(handed_in / "images.npy", np.asfortranarray(shifted(board)))
    given = check().experiment.attacks[1].given
    assert given is not None
    assert given.images is not None
    assert np.array_equal(given.images[""], shifted(board))


def test_a_zip_bomb_is_refused_by_what_it_declares(handed_in: Path, check: Check) -> None:
    header = headed("{'descr': '|u1', 'fortran_order': False, 'shape': (30000000, 1, 1, 1)}")
    zipped(handed_in / "images.npz", [("x.npy", header + bytes(30_000_000))])
    assert (handed_in / "images.npz").stat().st_size < 40_000
    assert "expected uint8 of shape" in refused(check)


def test_a_zip_that_declares_less_than_it_holds_is_refused(board: Leaderboard, handed_in: Path, check: Check) -> None:
    path = handed_in / "images.npz"
    honest = npy(shifted(board))
    zipped(path, [("x.npy", honest + bytes(10_000_000))])
    content = bytearray(path.read_bytes())
    real, small = struct.pack("<I", len(honest) + 10_000_000), struct.pack("<I", len(honest))
    assert content.count(real) == 2  # local and central header
    path.write_bytes(bytes(content).replace(real, small))
    said = refused(check)
    assert "can't be read" in said or "another size" in said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.npy", "x.npy"], "holds the array 'x' twice"),
        (["x.npy", "x"], "holds the array 'x' twice"),
        (["x.npy", "../../evil.npy"], "expected x, or x and ids"),
        (["/etc/x.npy"], "expected x, or x and ids"),
        ([], "holds nothing"),
        (["y.npy"], "holds 'y'"),
        ([f"{i}.npy" for i in range(100)], "expected x, or x and ids"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_other_names(
    board: Leaderboard, handed_in: Path, check: Check, names: list[str], message: str
) -> None:
    zipped(handed_in / "images.npz", [(name, npy(shifted(board))) for name in names])
    assert message in refused(check)


def test_a_truncated_or_damaged_npz(board: Leaderboard, handed_in: Path, check: Check) -> None:
    path = handed_in / "images.npz"
    np.savez_compressed(path, x=shifted(board))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100] + b"????" + whole[104:], b""):
        path.write_bytes(content)
        assert "can't be read" in refused(check)


def test_links_pipes_and_folders_are_refused(board: Leaderboard, handed_in: Path, check: Check, tmp_path: Path) -> None:
    np.save(tmp_path / "outside.npy", shifted(board))
    path = handed_in / "images.npy"
    path.symlink_to(tmp_path / "outside.npy")
    assert "images.npy: is a link" in refused(check)
    path.unlink()
    os.mkfifo(path)
    assert "images.npy: is no regular file" in refused(check)
    path.unlink()
    path.mkdir()
    assert "images.npy: is no regular file" in refused(check)
    path.rmdir()
    assert "no arrays in the folder" in refused(check)
    (handed_in / "card.toml").unlink()
    os.mkfifo(handed_in / "card.toml")
    assert "card.toml: is no regular file" in refused(check)
    (handed_in / "card.toml").unlink()
    (handed_in / "card.toml").symlink_to("/etc/passwd")
    assert "card.toml: is a link" in refused(check)


def test_a_file_too_large_is_not_read(handed_in: Path, check: Check) -> None:
    with (handed_in / "images.npy").open("wb") as file:
        file.truncate(10 << 30)  # sparse: no disk is used
    assert "expected at most" in refused(check)


def test_all_victims_or_single_ones(board: Leaderboard, handed_in: Path, check: Check) -> None:
    x = shifted(board)
    np.save(handed_in / "images.npy", x)
    np.save(handed_in / "plain.npy", x)
    assert "is for all victims, but there is plain.npy too" in refused(check)
    (handed_in / "images.npy").unlink()
    np.savez(handed_in / "plain.npz", x=x)
    assert "stands beside" in refused(check)


# -------------------------------------------------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("schema = 1", "schema = 0x" + "f" * 5000), "schema a number of thousands of digits is newer"),
        (("schema = 1", "schema = " + "9" * 5000), "can't be read as TOML"),
        (("eps = 0.2", "eps = 0x" + "f" * 5000), "given: a number of thousands of digits"),
        (("schema = 1", "schema = 2"), "schema 2 is newer; this version reads 1. Upgrade"),
        (("schema = 1", 'schema = "x"'), "card.toml: schema"),
        (('kind = "attack"', 'kind = "virus"'), "expected 'attack' or 'defense'"),
        (('kind = "attack"', "kind = []"), "expected 'attack' or 'defense'"),
        (('"darker"', '"../up"'), "card.toml: name"),
        (('"darker"', '".hidden"'), "card.toml: name"),
        (('"darker"', '"a|b"'), "card.toml: name"),
        (('"darker"', '"<b>"'), "card.toml: name"),
        (('"darker"', f'"{"a" * 65}"'), "card.toml: name"),
        (('"A. Author"', '"\\u001b[31mred"'), "invisible character U+001B"),
        (('"A. Author"', '"\\u202Ecod.exe"'), "invisible character U+202E"),
        (('"A. Author"', ""), "card.toml: authors"),
        (('"A. Author"', ",".join(['"a"'] * 51)), "card.toml: authors"),
        (("Every pixel one way.", "x" * 2001), "at most 2000"),
        (("date = 2026-11-24", 'date = "soon"'), "card.toml: date"),
        (("eps = 0.2", "eps = nan"), "card.toml: threat.eps"),
        (("eps = 0.2", "eps = inf"), "card.toml: threat.eps"),
        (("eps = 0.2", "eps = -1"), "card.toml: threat.eps"),
        (("eps = 0.2", 'eps = "1/0"'), "card.toml: threat.eps"),
        (('norm = "linf"', 'norm = "l2"'), "the board's is linf"),
        (("eps = 0.2", "eps = 0.2\nextra = 1"), "threat.extra: unknown key"),
        (('data = "none"', ""), "card.toml: data: must be given"),
        (("[threat]", "a = " + "[" * 5000 + "\n[threat]"), "card.toml"),
        (("[threat]", '[sha256]\n"../x.npy" = "' + "0" * 64 + '"\n[threat]'), "no path"),
        (("[threat]", '[sha256]\n"x.npy" = "abc"\n[threat]'), "card.toml: sha256.x.npy"),
        (("schema = 1", "\x00"), "can't be read as TOML"),
    ],
)
def test_bad_cards(board: Leaderboard, handed_in: Path, check: Check, change: tuple[str, str], message: str) -> None:
    assert CARD.count(change[0]) == 1
    (handed_in / "card.toml").write_text(CARD.replace(*change))
    np.save(handed_in / "images.npy", shifted(board))
    said = refused(check)
    assert message in said
    assert "\x1b" not in said
    assert len(said) < 1000


def test_a_card_of_100_mb_is_not_read(handed_in: Path, check: Check) -> None:
    with (handed_in / "card.toml").open("wb") as file:
        file.truncate(100 << 20)
    assert "104,857,600 bytes; expected at most 65,536" in refused(check)


def test_a_card_that_is_no_text(handed_in: Path, check: Check) -> None:
    (handed_in / "card.toml").write_bytes(b"\xff\xfe\x00")
    assert "can't be read as TOML" in refused(check)


def test_no_folder(handed_in: Path, board: Leaderboard, tmp_path: Path) -> None:
    from robustnoise.submission.submit import prepare

    with pytest.raises(BadSubmission, match="card.toml"):
        prepare(tmp_path / "nowhere", board)


def test_nothing_is_written_or_trained_for_a_refused_folder(
    board: Leaderboard, handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNOISE_CACHE", str(tmp_path / "cache"))
    np.save(handed_in / "images.npy", shifted(board, REACH + 1))
    with pytest.raises(BadSubmission):
        cli("board", "submit", str(handed_in), str(board.path), "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache" / "store").exists()

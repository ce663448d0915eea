"""A board's page without a browser: its data, its policy, its size."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from robustnoise.cli.looking import write_index, write_page
from robustnoise.errors import BadParameter
from robustnoise.report.page import files as page_parts
from robustnoise.report.page import page_files
from robustnoise.report.page.data import packed
from robustnoise.report.page.html import INDEX, PAGE, document
from robustnoise.report.page.png import change, data_uri
from robustnoise.tally import Tally
from tests import page_boards as boards

ASSETS = files("robustnoise.report.page").joinpath("assets")


def test_data_are_json_and_follow_from_the_rows_alone() -> None:
    found = boards.records()
    first = json.dumps(boards.data(found), allow_nan=False)
    assert first == json.dumps(boards.data(boards.records()), allow_nan=False)
    read = json.loads(first)
    assert len(read["rows"]) == len(found)
    place = read["columns"].index("robust")
    values = [row["values"][place] for row in read["rows"]]
    assert values == pytest.approx([r.victim.scored.accuracy for r in found], abs=1e-6)


def test_no_text_ends_its_element_and_the_policy_names_what_runs() -> None:
    (content,) = page_files("toy.html", boards.data(boards.records(names={1: boards.BREAKOUT}))).values()
    assert content.count("<script") == content.count("</script>") == 2
    assert boards.HOSTILE not in content
    assert "&lt;img" in content  # the window's title
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', content)
    assert policy
    script = re.search(r"<script>(.*)</script>", content, re.DOTALL)
    style = re.search(r"<style>(.*)</style>", content, re.DOTALL)
    assert script
    assert style
    for kind, text in (("script", script[1]), ("style", style[1])):
        hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{hashed}'" in policy[1]
    for forbidden in ("default-src", "base-uri", "form-action"):
        assert f"{forbidden} 'none'" in policy[1]
    assert "unsafe" not in policy[1]


@pytest.mark.parametrize("name", sorted({*PAGE, *INDEX}))
def test_scripts_parse_no_markup_and_name_no_other_site(name: str) -> None:
    text = ASSETS.joinpath(f"{name}.js").read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "</script"):
        assert word not in text
    assert re.findall(r"https?://[^\"\s]+", text) in ([], ["http://www.w3.org/2000/svg"])
    assert text.startswith("/* ")


def test_every_asset_is_used() -> None:
    names = {entry.name for entry in ASSETS.iterdir()}
    assert names == {"page.css", *(f"{name}.js" for name in (*PAGE, *INDEX))}


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2, of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_lines_stand_out_in_light_and_in_dark(theme: int) -> None:
    style = ASSETS.joinpath("page.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([a-z]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    hues = [_luminance(pair[theme + 1]) for pair in pairs if pair[0] == "hue"]
    tokens = {name: _luminance(both[theme]) for name, *both in pairs if name != "hue"}
    assert len(hues) == 7

    def contrast(a: float, b: float) -> float:
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)

    for ground in ("page", "panel", "shade"):
        for text in ("ink", "muted", "accent", "loss"):
            assert contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)
        assert contrast(tokens["gain"], tokens[ground]) >= 3
    assert min(contrast(hue, tokens["page"]) for hue in hues) >= 3


@pytest.mark.parametrize(("draws", "width"), [(1, 0), (20, 1), (300, 2)])
def test_packed_counts_hold_every_image(draws: int, width: int) -> None:
    right = np.random.default_rng(0).integers(0, draws + 1, 77).astype(np.uint16)
    told = packed(Tally(right, np.zeros(77, np.uint16), None, draws))
    raw = zlib.decompress(base64.b64decode(told["packed"]))
    read = np.unpackbits(np.frombuffer(raw, np.uint8))[:77] if not width else np.frombuffer(raw, f"<u{width}")
    assert (told["n"], told["draws"]) == (77, draws)
    assert np.array_equal(read, right)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_png(channels: int) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    content = base64.b64decode(data_uri(image).removeprefix("data:image/png;base64,"))
    read = np.asarray(image_module.open(io.BytesIO(content)))
    assert np.array_equal(read, image[0] if channels == 1 else np.moveaxis(image, 0, -1))


def test_a_change_is_grey_where_nothing_changed_and_as_far_as_it_goes_where_most_did() -> None:
    original = np.full((1, 1, 3), 100, np.uint8)
    adversarial = np.array([[[100, 150, 75]]], np.uint8)
    picture, largest, scale = change(original, adversarial)
    assert picture.tolist() == [[[128, 255, 64]]]
    assert (largest, scale) == (50, 127 / 50)


def test_what_would_make_a_page_too_large_is_written_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = boards.large(victims=8, attacks=10, n=3000)
    bare = {**data, "counts": [], "rows": [{**r, "images": None, "counts": {}} for r in data["rows"]]}
    limit = page_parts.RESERVE + len(json.dumps(bare)) + len(json.dumps(data["counts"])) // 2
    monkeypatch.setattr(page_parts, "MAX_BYTES", limit)
    page, *others = page_files("toy.html", data).items()
    assert len(page[1].encode()) < limit
    read = json.loads(re.findall(r'id="data">(.*?)</script>', page[1])[0])
    named = [row["page"] for row in read["rows"] if row["page"]]
    assert named == [name for name, _ in others] != []
    assert any(row["images"] for row in read["rows"])
    assert all(row["images"] is None for row in read["rows"] if row["page"])
    assert 0 < read["left_out"] < len(read["rows"])
    kept = [i for row in read["rows"] for i in row["counts"].values() if i is not None]
    assert all(read["counts"][i] for i in kept)


def test_documents_need_no_board() -> None:
    assert document("a < b", PAGE, {}).startswith("<!doctype html>")


def test_the_commands_write_pages_and_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).parents[2] / "leaderboards"
    for name in ("analog-cifar10", "analog-strokes"):
        shutil.copytree(source / name, tmp_path / "boards" / name)
    one = str(source / "analog-cifar10")
    write_page(one, tmp_path / "new" / "one.html")
    assert f"{tmp_path / 'new' / 'one.html'}, 0." in capsys.readouterr().out
    write_index([str(tmp_path / "boards")], tmp_path / "all")
    pages = {p.name for p in (tmp_path / "all").glob("*.html")}
    assert pages == {"index.html", "analog-cifar10.html", "analog-strokes.html"}
    with pytest.raises(BadParameter, match=r"ends in \.html"):
        write_page(one, tmp_path / "one.txt")
    with pytest.raises(BadParameter, match="two boards would be called"):
        write_index([one, one], tmp_path)

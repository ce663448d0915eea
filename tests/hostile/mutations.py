"""What may have happened to a file: cut, changed, spliced, or made by somebody who means harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

HUGE = [2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400]
NUMBERS: list[Any] = [0, -1, 1, -(2**63), 0.5, 1e308, 5e-324, -0.0, float("nan"), float("inf"), -float("inf"), *HUGE]
TEXTS = ["", " ", "\x00", "\x1b[31m", "\u202e", "\ud800", "..", "../../etc/passwd", "/etc/passwd", "a" * 10_000,
         "%s%n", "{x}", "__import__('os').abort()", "1e999", "NaN", "<script>", "é", "-1", "9" * 5000]  # fmt: skip
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None] * 1000, {"": ""}, {"schema": 1}]


def _nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


NASTY = [*NUMBERS, *TEXTS, *OTHERS, _nested(50), _nested(900)]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with up to four of: a cut, flipped bits, a removed, repeated or inserted part."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        more = draw(st.integers(1, 64))
        kind = draw(st.sampled_from(["cut", "flip", "byte", "remove", "repeat", "insert", "number"]))
        if kind == "cut":
            content = content[:at]
        elif kind in ("flip", "byte") and content:
            new = content[at] ^ (1 << draw(st.integers(0, 7))) if kind == "flip" else draw(st.integers(0, 255))
            content = content[:at] + bytes([new]) + content[at + 1 :]
        elif kind == "remove":
            content = content[:at] + content[at + more :]
        elif kind == "repeat":
            content = content[: at + more] + content[at:]
        elif kind == "insert":
            content = content[:at] + draw(st.binary(max_size=64)) + content[at:]
        elif kind == "number":  # over a length or an offset, as most formats write it
            number = draw(st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]))
            size = draw(st.sampled_from([4, 8]))
            content = content[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + content[at + size :]
    return content


def _places(tree: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here]
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree[:50]) if isinstance(tree, list) else ()
    for key, part in parts:
        found += _places(part, (*here, key))
    return found


def _changed(tree: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not place:
        return change(tree)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[place[0]] = _changed(tree[place[0]], place[1:], change)
    return copy


@st.composite
def nasty(draw: st.DrawFn, tree: Any) -> Any:
    """`tree`, as JSON has it, with one or two parts taken out or replaced by what nobody expects there."""
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(_places(tree)))
        if not place:
            continue
        if draw(st.integers(0, 5)) == 0:
            *outer, last = place
            tree = _changed(tree, tuple(outer), lambda part, last=last: _without(part, last))
        else:
            value = draw(st.sampled_from(NASTY))
            tree = _changed(tree, place, lambda _, value=value: value)
    return tree


def _without(part: Any, key: Any) -> Any:
    if isinstance(part, dict):
        return {k: v for k, v in part.items() if k != key}
    return [v for i, v in enumerate(part) if i != key]


def as_json(tree: Any) -> bytes:
    """`tree` as JSON with whatever it holds, NaN and lone surrogates included."""
    return json.dumps(tree).encode()


JSON_TEXTS = [b"", b"null", b"[]", b"{}", b'"', b"{" * 10_000, b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b"-",
              b"NaN", b"1e99999", b"\xff\xfe", b'{"schema": 1, "schema": 2}', b'{"a": "\\ud800"}',
              b"\xef\xbb\xbf{}"]  # fmt: skip
TOML_VALUES = ["nan", "-inf", "-1", "0", "1e308", "9" * 30, "9" * 5000, "0x" + "f" * 5000, '""', '"\\u0000"',
               '"../../x"',
               '"\\u202e"', "true", "[]", "{}", "[1, 'a']", "[" * 200 + "]" * 200, "[" * 5000, "2026-11-24",
               "1979-05-27T07:32:00Z",
               '"' + "a(" * 3000 + '"', '"' + "x" * 20_000 + '"', "'''", "{a = {b = {c = 1}}}"]  # fmt: skip

TABLES = ["[a]", "[[victims]]", "[run]", "[[curves]]", "[a.b.c]", "[" + "a." * 3000 + "a]"]


@st.composite
def rewritten(draw: st.DrawFn, text: str) -> bytes:
    """TOML of which one or two lines are lost, doubled, moved or have another value or key."""
    lines = text.strip().splitlines()
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "value", "value", "lost", "doubled", "moved", "key", "table"]))
        key, equals, _ = lines[at].partition("=")
        if kind == "value" and equals:
            lines[at] = f"{key}= {draw(st.sampled_from(TOML_VALUES))}"
        elif kind == "key" and equals:
            new = draw(st.sampled_from(['""', '"a.b"', "a.b.c", '"\\u0000"', "x" * 2000, "schema", '"../x"']))
            lines[at] = f"{new} {lines[at][len(key) :]}"
        elif kind == "table":
            lines.insert(
                at,
                draw(
                    st.sampled_from(["[a]", "[[victims]]", "[run]", "[[curves]]", "[a.b.c]", "[" + "a." * 3000 + "a]"])
                ),
            )
        elif kind == "lost" and len(lines) > 1:
            del lines[at]
        elif kind == "doubled":
            lines.insert(at, lines[at])
        elif kind == "moved":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return "\n".join(lines).encode()


def examples(few: int) -> settings:
    """So many examples, the same in each run."""
    return settings(max_examples=few, deadline=None, derandomize=True, database=None)

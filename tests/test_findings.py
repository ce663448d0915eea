"""docs/findings say what the boards say."""

from __future__ import annotations

import re

import pytest

from tools.findings import DOCUMENT, filled

TEXT = DOCUMENT.read_text(encoding="utf-8")
INTERVAL = re.compile(r"[+-]?\d+\.\d+ \[[+-]?\d+\.\d+, [+-]?\d+\.\d+\]")


@pytest.mark.slow  # the statistics of the whole board
def test_tables_are_those_of_the_boards() -> None:
    assert filled(TEXT) == TEXT, "python -m tools.findings rewrites them"


TABLES = "\n".join(re.findall(r"<!-- [a-z -]+ -->\n(.*?)<!-- end -->", TEXT, re.DOTALL))


def test_every_interval_in_the_prose_stands_in_a_table() -> None:
    prose = re.sub(r"<!-- [a-z -]+ -->\n.*?<!-- end -->", "", TEXT, flags=re.DOTALL).replace("\n", " ")
    said = INTERVAL.findall(prose)
    assert said
    assert [s for s in said if s not in TABLES] == []


def test_its_boards_are_linked() -> None:
    for name in re.findall(r"`((?:mnist|cifar10)-linf[a-z-]*)`", TEXT):
        assert (DOCUMENT.parents[2] / "leaderboards" / name / "board.toml").exists()


def test_the_readme_says_what_the_finding_says() -> None:
    readme = (DOCUMENT.parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Does noise at inference help?")[1].split("\n## ")[0].replace("\n", " ")
    said = INTERVAL.findall(section)
    assert len(said) == 13
    assert [s for s in said if s not in TABLES] == []

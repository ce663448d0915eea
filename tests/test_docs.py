"""What the documents say follows from the repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import robustnoise as rn
from robustnoise.board import board_from

ROOT = Path(__file__).parent.parent


BOARDS = sorted({path.parents[1].name for path in ROOT.glob("leaderboards/*/rows/*.json")})


def _slow_where_long(name: str) -> Any:
    """The statistics of a hundred rows of 10,000 images take half a minute."""
    rows = len(list((ROOT / "leaderboards" / name / "rows").glob("*.json")))
    return pytest.param(name, marks=pytest.mark.slow) if rows > 60 else name


@pytest.mark.parametrize("name", BOARDS)
def test_every_row_is_whole_and_follows_its_boards_protocol(name: str) -> None:
    board = rn.Leaderboard(ROOT / "leaderboards" / name)
    assert all(board.ranked(row) for row in board.rows())


@pytest.mark.parametrize("name", [_slow_where_long(name) for name in BOARDS])
def test_every_board_is_verified(name: str) -> None:
    assert rn.Leaderboard(ROOT / "leaderboards" / name).verify() == []


def test_the_quickstart_board_shows_what_it_promises() -> None:
    frame = rn.Leaderboard("quickstart").to_frame()
    transfer = frame[frame.scope != "control"]
    assert transfer[transfer.victim == "baseline"].robust.min() <= 0.10
    assert transfer[transfer.victim == "at"].robust.min() >= 0.60
    null = frame[(frame.attack == "null") & (frame.victim != "at-noise-vote")]
    assert (null["drop"] == 0).all()


def test_statistics_are_computed_once_and_report_how_far_they_are() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.announced: list[int] = []
            self.done = 0

        def start(self, label: str, total: int) -> Recorder:
            self.announced.append(total)
            return self

        def advance(self, steps: int = 1) -> None:
            self.done += steps

    seen = Recorder()
    board = rn.Leaderboard("quickstart", seen)
    board.to_json()
    assert seen.announced == [len(board.rows())]
    assert seen.done == len(board.rows())


def test_the_readme_shows_the_board_as_it_is() -> None:
    report = (ROOT / "leaderboards" / "quickstart" / "REPORT.md").read_text()
    table = re.search(r"## Victims\n\n(.*?)\n\n", report, re.DOTALL)
    assert table
    assert table[1] in (ROOT / "README.md").read_text()


def test_noise_costs_a_little_under_the_shared_attacks_as_the_readme_says() -> None:
    frame = rn.Leaderboard("quickstart").to_frame()
    noisy = frame[(frame.victim == "at-noise-vote") & (frame.against == "at") & (frame.scope != "control")]
    assert len(noisy) == 4
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    said = re.search(
        r"under (one|two|three) of the four attacks it cost a little, under the other (one|two|three)", readme
    )
    assert said is not None
    few = noisy["flags"].str.contains("TOO_FEW_IMAGES")
    assert ((noisy.delta_high < 0) & ~few).sum() == ["one", "two", "three"].index(said[1]) + 1
    assert few.sum() == ["one", "two", "three"].index(said[2]) + 1
    assert (noisy.delta_low > 0).sum() == 0


NOISY = {"analog-mnist": "MNIST images", "analog-strokes": "MNIST strokes (LSTM)", "analog-cifar10": "CIFAR-10"}


def noisy_table() -> str:
    """The table of the README about noisy hardware, from the rows."""
    head = ("noise at 0 dB in every product", "plain net, one pass", "published", "trained with it, one pass")
    head += ("with a vote", "published", "adaptive vote (mean passes)")
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for name, what in NOISY.items():
        if name not in BOARDS:
            continue
        board = rn.Leaderboard(ROOT / "leaderboards" / name)
        rows = board.to_frame().set_index("victim")
        published = {p.victim: p.accuracy for p in board.board.published}

        def ours(victim: str, rows: pd.DataFrame = rows) -> str:
            row = rows.loc[victim]
            return f"{100 * row.clean:.2f} [{100 * row.clean_low:.2f}, {100 * row.clean_high:.2f}]"

        def theirs(victim: str, published: dict[str, float] = published) -> str:
            return f"{100 * published[victim]:.1f}"

        vote, adaptive = "trained-0db-vote", "trained-0db-adaptive"
        cells = [
            what,
            ours("plain-0db"),
            theirs("plain-0db"),
            ours("trained-0db"),
            f"{ours(vote)} ({rows.loc[vote].passes:.0f})",
            theirs(vote),
            f"{ours(adaptive)} ({rows.loc[adaptive].passes:.1f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_readme_shows_the_noisy_boards_as_they_are() -> None:
    assert noisy_table() in (ROOT / "README.md").read_text()


def test_the_readme_shows_the_other_plain_net_as_it_is() -> None:
    rows = rn.Leaderboard(ROOT / "leaderboards" / "analog-mnist").to_frame().set_index("victim")
    said = re.search(r"warped digits gives ([\d.]+) \(`augmented-0db`", (ROOT / "README.md").read_text())
    assert said is not None
    assert said[1] == f"{100 * rows.loc['augmented-0db'].clean:.2f}"


def test_the_boards_of_the_docs_load() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "boards.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    whole = board_from(tomllib.loads(blocks.pop(0)), "docs/boards.md")
    assert [v.name for v in whole.victims] == ["plain", "noisy"]
    text = 'schema = 1\nname = "docs"\n[data]\nname = "digits"\n' + "".join(blocks)
    board = board_from(tomllib.loads(text), "docs/boards.md")
    assert [c.name for c in board.curves] == ["snr", "layers"]
    assert board.curves[0].lines[2].points[0].victim == "plain"
    assert board.budget.stops == (100, 500, 1000)
    assert board.published[0].accuracy == 0.995
    assert [(c.attacks, c.margin) for c in board.contrasts] == [(("square",), None), ((), 0.01)]


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "import" in b]
    assert len(blocks) == 1
    exec(compile(blocks[0], "README.md", "exec"), {})
    assert 0 <= float(capsys.readouterr().out) <= 1


def test_the_repository_names_no_machine_and_no_registry() -> None:
    words = ("/wor" + "k/", "/roo" + "t/", "pypi" + ".org", "files.python" + "hosted")
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.suffix in {".py", ".md", ".toml", ".txt", ".cff", ".yaml"} and not parts[0].startswith(".venv"):
            text = path.read_text(encoding="utf-8")
            assert not [w for w in words if w in text], path

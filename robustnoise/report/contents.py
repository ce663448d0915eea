"""What a board shows, whatever shows it: a terminal, REPORT.md or a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from robustnoise.report.contrasts import ContrastView
from robustnoise.report.curves import CurveView
from robustnoise.report.published import PublishedView
from robustnoise.report.submitted import Submitted
from robustnoise.report.variance import VarianceView
from robustnoise.report.views import RowView, Summary


class Contents(NamedTuple):
    """The parts of a board, each in the order in which it is shown."""

    rows: Sequence[RowView]
    """Of the listed victims."""
    summary: Sequence[Summary] = ()
    """Worst cases by victim."""
    curves: Sequence[CurveView] = ()
    """Each with its lines and intervals."""
    published: Sequence[PublishedView] = ()
    """Figures of others."""
    contrasts: Sequence[ContrastView] = ()
    """The declared comparisons."""
    variance: Sequence[VarianceView] = ()
    """Of rows of several seeds, where there are any."""
    submitted: Sequence[Submitted] = ()
    """Who has handed in what."""

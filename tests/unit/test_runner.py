"""What a run says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnoise.compose import Identity
from robustnoise.harness import provenance
from robustnoise.harness.experiment import Experiment, Victim
from robustnoise.harness.runner import run
from robustnoise.protocols import Meter, Silent
from robustnoise.store import Store
from robustnoise.testing.toys import toy_dataset, toy_model
from robustnoise.threat import Budget


def experiment() -> Experiment:
    """One ready net on clean images."""
    return Experiment(
        dataset=toy_dataset(),
        sizes={},
        threat=None,
        budget=Budget(),
        victims=(Victim("net", Identity(), classifier=toy_model()),),
        attacks=(),
    )


class Committing:
    """A progress display during whose first stage the checkout gets another commit."""

    commit = "at the start"

    def start(self, label: str, total: int) -> Meter:
        self.commit = "later"
        return Silent().start(label, total)


def test_a_record_names_the_commit_at_the_start_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Committing()
    monkeypatch.setattr(provenance, "_commit", lambda: checkout.commit)
    records = run(experiment(), Store(tmp_path), progress=checkout)
    assert checkout.commit == "later"
    assert records[0].provenance["commit"] == "at the start"
    assert records[0].provenance["seconds"] >= 0

"""The cells that failed, and what depends on them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from robustnoise.errors import AttackFailed, BadData, BudgetExceeded, RobustnoiseError, told
from robustnoise.harness.experiment import Attack, Victim
from robustnoise.training.loop import TrainingDiverged


class Failed:
    """Victims without a network, and pairs of victim and attack without a result; `lines` says of each cell why."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._victims: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()

    def note(self, label: str, victim: Victim, attack: Attack | None, reason: str | None) -> None:
        """The cell `label` failed for `reason`; None is that it didn't. Without an attack the whole victim failed."""
        if reason is None:
            return
        if attack is None:
            self._victims.add(victim.name)
        else:
            self._pairs.add(self._pair(victim, attack))
        self.lines.append(f"{label} failed: {reason}")

    def has(self, victim: Victim, attack: Attack | None, *, shared: bool = False) -> bool:
        """Whether `victim`, or `attack` on it, failed; of work that is shared by all victims only the attack counts."""
        return (victim.name in self._victims and not shared) or (
            attack is not None and self._pair(victim, attack) in self._pairs
        )

    def hand_over(self, lines: list[str] | None) -> None:
        """Add what failed to `lines`.

        Raises:
            AttackFailed: something failed, and there is no list.
        """
        if lines is not None:
            lines += self.lines
        elif self.lines:
            raise AttackFailed("\n".join(self.lines))

    @staticmethod
    def _pair(victim: Victim, attack: Attack) -> tuple[str, str]:
        return attack.name, victim.name if attack.own else ""


class Failure(NamedTuple):
    """Why a cell is missing."""

    reason: str
    again: bool
    """Whether the next try may end otherwise: memory was short, or a worker was lost."""


LOST = Failure("its worker was lost: killed, out of memory, or with its machine.", again=True)
ITS_OWN = (AttackFailed, BadData, BudgetExceeded, TrainingDiverged)
"""Errors of ours that are about one cell. All others (a full disk, a wrong parameter, an endpoint that doesn't answer)
the next cell would meet as well: they end the run."""
NO_MEMORY = "can't allocate memory", "not enough memory", "CUDA error"
"""How torch words what it has no class of errors for in every version."""


def attempt(make: Callable[[], object]) -> Failure | None:
    """Make a cell; the reason where that fails: one bad cell is no lost board.

    Raises:
        RobustnoiseError: what is about more than this cell.
    """
    try:
        make()
    except ITS_OWN as error:
        return Failure(str(error), again=False)
    except RobustnoiseError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        return _short(error)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        if isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY):
            return _short(error)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        return Failure(f"{type(error).__name__}: {told(error)} ({where})", again=False)
    return None


def _short(error: Exception) -> Failure:
    first = (str(error).splitlines() or [""])[0]
    return Failure(f"{type(error).__name__}: {first or 'out of memory'}", again=True)

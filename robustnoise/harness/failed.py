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
    """Victims without a network, attacks without images, and pairs of both without a result; `lines` says of each cell
    why."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._victims: set[str] = set()
        self._attacks: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()

    def note(
        self, label: str, victim: Victim, attack: Attack | None, reason: str | None, *, shared: bool = False
    ) -> None:
        """The cell `label` failed for `reason`; None is that it didn't. Without an attack the whole victim failed, and
        with work that is shared by all victims the whole attack."""
        if reason is None:
            return
        if attack is None:
            self._victims.add(victim.name)
        elif shared:
            self._attacks.add(attack.name)
        else:
            self._pairs.add((victim.name, attack.name))
        self.lines.append(f"{label} failed: {reason}")

    def has(self, victim: Victim, attack: Attack | None, *, shared: bool = False) -> bool:
        """Whether `victim`, or `attack` on it, failed; of work that is shared by all victims only the attack counts."""
        if attack is not None and attack.name in self._attacks:
            return True
        pair = attack is not None and (victim.name, attack.name) in self._pairs
        return not shared and (pair or victim.name in self._victims)

    def hand_over(self, lines: list[str] | None) -> None:
        """Add what failed to `lines`.

        Raises:
            AttackFailed: something failed, and there is no list.
        """
        if lines is not None:
            lines += self.lines
        elif self.lines:
            raise AttackFailed("\n".join(self.lines))


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
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything, and call sys.exit()
        if isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY):
            return _short(error)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        return Failure(f"{type(error).__name__}: {told(error)} ({where})", again=False)
    return None


def _short(error: Exception) -> Failure:
    first = (str(error).splitlines() or [""])[0]
    return Failure(f"{type(error).__name__}: {first or 'out of memory'}", again=True)

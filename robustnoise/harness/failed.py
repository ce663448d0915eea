"""The cells in which somebody else's attack failed, and what depends on them."""

from __future__ import annotations

from collections.abc import Callable

from robustnoise.errors import AttackFailed
from robustnoise.harness.experiment import Attack, Victim


class Failed:
    """Pairs of victim and attack that have no result; `lines` says of each cell why."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._pairs: set[tuple[str, str]] = set()

    def note(self, label: str, victim: Victim, attack: Attack | None, reason: str | None) -> None:
        """The cell `label` failed for `reason`; None is that it didn't."""
        if reason is not None:
            assert attack is not None
            self._pairs.add(self._pair(victim, attack))
            self.lines.append(f"{label} failed: {reason}")

    def has(self, victim: Victim, attack: Attack | None) -> bool:
        """Whether `attack` failed on `victim`."""
        return attack is not None and self._pair(victim, attack) in self._pairs

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


def attempt(make: Callable[[], object]) -> str | None:
    """Make a cell; the reason where somebody else's attack fails."""
    try:
        make()
    except AttackFailed as error:
        return str(error)
    return None

"""The command audit."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from robustnoise.board import VictimPart
from robustnoise.cli.caching import open_store
from robustnoise.cli.progress import bars
from robustnoise.cli.running import (
    ATTACK_FAILED,
    Setting,
    checkpoints,
    load_plugins,
    refuse_target,
    target_options,
)
from robustnoise.errors import AttackFailed, BadParameter
from robustnoise.harness.auditing import audit
from robustnoise.registry import registry
from robustnoise.report.audit import Audit, print_audit
from robustnoise.report.terminal import stdout

BLOCKED = 1
"""Exit code of an audit that raised a blocking flag."""


def audit_victim(
    defense: str | None, target: str | None, options: Sequence[str], baseline: str | None, images: int, setting: Setting
) -> int:
    """Audit a stack, a target, or a target behind inference stages, and show it; the exit code."""
    if defense is None and target is None:
        raise BadParameter(
            "expected a victim, --target or both: 'robustnoise audit \"plain-training | layer-noise(snr_db=20)\"'."
        )
    if defense is not None and target is None:
        refuse_target(defense, f"audit --target {defense}")
    load_plugins(setting.plugins)
    stack = None if defense is None else checkpoints(defense)
    victims = {"victim": VictimPart(defense=stack, target=target, options=target_options(options))}
    if baseline is not None:
        victims["baseline"] = VictimPart(defense=checkpoints(baseline))
    null = next(rung for rung in registry().ladder() if rung.rung == "null")
    experiment = setting.experiment(setting.board(victims, {null.name: null.attack}, None))
    # References that a board adds have no part in an audit.
    experiment = replace(
        experiment, victims=tuple(replace(v, reference=None) for v in experiment.victims if v.name in victims)
    )
    try:
        with bars() as progress:
            (record,) = audit(
                experiment,
                open_store(),
                ["victim"],
                images=images,
                baseline=None if baseline is None else "baseline",
                progress=progress,
            )
    except AttackFailed as error:
        print(f"AttackFailed: {error}", file=sys.stderr)
        return ATTACK_FAILED
    found = Audit(record)
    if setting.json:
        print(json.dumps(found.to_json(), allow_nan=False))
    else:
        print_audit(stdout(), found)
    return BLOCKED if found.blocked else 0

"""A checked board: its parts built, its protocol, and whether a row follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from robustnoise.blocks import BLOCK
from robustnoise.board.contrasts import declared
from robustnoise.board.file import BoardFile, BudgetPart, VictimPart
from robustnoise.board.recipes import expand, expand_recipes
from robustnoise.board.sweeps import Swept, sweep
from robustnoise.building import build, spec_of, written_out
from robustnoise.compose import Defense, Identity, split_stages
from robustnoise.data import Dataset, load_dataset
from robustnoise.errors import BadBoard, RobustnoiseError
from robustnoise.harness.experiment import Attack, Experiment, Victim
from robustnoise.harness.given import claims_within
from robustnoise.models.targets.text import TargetText
from robustnoise.report.contrasts import Contrast
from robustnoise.report.curves import Curve
from robustnoise.report.published import Published
from robustnoise.store import IDENTITY
from robustnoise.threat import Access, Budget, ThreatModel


@dataclass(frozen=True)
class Board:
    """A checked board.

    Args:
        file: its content.
        origin: for messages.
    """

    file: BoardFile
    origin: str

    @property
    def name(self) -> str:
        """The board's name."""
        return self.file.name

    @property
    def attacked(self) -> bool:
        """Whether the board has attacks; without them it measures accuracy on clean images."""
        return self.file.attacks is not None

    def protocol(self, *, attacked: bool | None = None) -> dict[str, Any]:
        """What a row must share with the board to be ranked, beside an attack of the board's list.

        Args:
            attacked: whether the row is one of an attack; None where the board has attacks.
        """
        if attacked is None:
            attacked = self.attacked
        return {
            "data": {"name": self.file.data.name, "sizes": self.file.data.identity()},
            "threat": self.threat.to_json() if self.threat is not None and attacked else None,
            "budget": self.budget.to_json() if attacked else None,
            "draws": self.file.run.draws,
            "block": BLOCK,
            "identity": IDENTITY,
        }

    @property
    def threat(self) -> ThreatModel | None:
        """The threat model; None without attacks."""
        part = self.file.threat
        if part is None:
            return None
        return ThreatModel(part.norm, part.eps, Access.parse(part.access))

    @property
    def budget(self) -> Budget:
        """The budget."""
        return Budget(**(self.file.budget or BudgetPart()).model_dump())

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks, built.

        Raises:
            BadBoard: with file and key.
        """
        return tuple(
            Attack(name, self._build(f"attacks.{name}", self._expand(f"attacks.{name}", text), "attack"))
            for name, text in (self.file.attacks or {}).items()
        )

    @cached_property
    def recipes(self) -> dict[str, str]:
        """The recipes, written out.

        Raises:
            BadBoard: with file and key.
        """
        return expand_recipes(self.file.recipes, self.origin)

    @property
    def victims(self) -> tuple[Victim, ...]:
        """Whom the board measures: the listed victims, then the points of its curves that are no listed victim."""
        return self.listed + self._swept.victims

    @property
    def headline(self) -> tuple[str, ...]:
        """Names of the victims that are audited and shown with images."""
        return self.file.run.headline or tuple(v.name for v in self.listed)

    def shown(self, victim: str) -> bool:
        """Whether images that attacks won from a victim of that name are shown."""
        return victim in self.headline

    @property
    def points(self) -> frozenset[str]:
        """Names of the victims that are points of curves alone."""
        return frozenset(v.name for v in self._swept.victims)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The curves, for reports."""
        return self._swept.curves

    @property
    def published(self) -> tuple[Published, ...]:
        """Published figures, for reports."""
        return tuple(Published(p.victim, p.accuracy / 100, p.source) for p in self.file.published)

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The declared contrasts, for reports.

        Raises:
            BadBoard: with file and key.
        """
        return declared(self.file.contrasts, [v.name for v in self.listed], self.attacks, self.origin)

    @cached_property
    def _swept(self) -> Swept:
        return sweep(self.file.curves, self.listed, self.recipes, self.file.run.model, self._build, self.origin)

    @cached_property
    def listed(self) -> tuple[Victim, ...]:
        """The listed victims, built, each with its reference.

        The reference defaults to the stack less its inference stages, which is added where the board doesn't list it;
        a stack without inference stages is compared with the undefended net.
        """
        built = [self._victim(name, part) for name, part in self.file.victims.items()]
        undefended = self.file.run.undefended
        complete: list[Victim] = []
        for victim in built:
            training, inference = split_stages(victim.defense)
            reference = victim.reference
            if reference is None and inference.stages():
                same = [
                    v.name
                    for v in built
                    if (v.defense, v.model, v.seed, v.target) == (training, victim.model, victim.seed, victim.target)
                ]
                reference = same[0] if same else f"{victim.name} less inference"
                if not same:
                    complete.append(replace(victim, name=reference, defense=training, reference=undefended))
            elif reference is None and victim.name != undefended:
                reference = undefended
            complete.append(replace(victim, reference=reference))
        return tuple(complete)

    def _victim(self, name: str, part: str | VictimPart) -> Victim:
        part = VictimPart(defense=part) if isinstance(part, str) else part
        defense: Defense = Identity()
        if part.defense is not None:
            defense = self._build(f"victims.{name}", self._expand(f"victims.{name}", part.defense), "defense")
        if part.target is not None:
            try:
                target = TargetText(part.target, part.options)
            except RobustnoiseError as error:
                raise BadBoard(f"{self.origin}: victims.{name}: {error}") from None
            return Victim(name, defense, reference=part.reference, target=target)
        architecture = self._expand(f"victims.{name}.model", part.model or self.file.run.model)
        model = self._build(f"victims.{name}.model", architecture, "model")
        return Victim(name, defense, model, part.reference, seed=part.seed)

    def _expand(self, key: str, text: str) -> str:
        return expand(text, self.recipes, f"{self.origin}: {key}")

    def _build(self, key: str, text: str, kind: str) -> Any:
        try:
            return build(text, kind)
        except RobustnoiseError as error:
            raise BadBoard(f"{self.origin}: {key}: {error}") from None

    def experiment(
        self,
        *,
        data_dir: Path | None = None,
        device: str = "cpu",
        plugin_files: Sequence[Path] = (),
        trust_code: bool = False,
        journals: Path | None = None,
    ) -> Experiment:
        """Everything checked, data loaded, nothing run but the code of trusted targets, nothing sent.

        Args:
            data_dir: the folder with the canonical files of datasets.
            device: where networks run.
            plugin_files: one-file plugins, for workers.
            trust_code: whether targets may run code that the board names.
            journals: the folder of what was paid to endpoints.

        Raises:
            BadBoard: with file and key; and the errors of `load_dataset`.
        """
        dataset = load_dataset(
            self.file.data.name,
            sizes=self.file.data.sizes(),
            seed=self.file.data.seed,
            data_dir=data_dir,
        )
        try:
            return Experiment(
                dataset=dataset,
                sizes=self.file.data.identity(),
                threat=self.threat,
                budget=self.budget,
                victims=tuple(self._opened(v, dataset, trust_code, journals) for v in self.victims),
                attacks=self.attacks,
                undefended=self.file.run.undefended,
                draws=self.file.run.draws,
                seed=self.file.run.seed,
                threads=self.file.run.threads,
                precision=self.file.run.precision,
                device=device,
                plugin_files=tuple(plugin_files),
            )
        except RobustnoiseError as error:
            raise BadBoard(f"{self.origin}: {error}") from None

    def _opened(self, victim: Victim, dataset: Dataset, trust_code: bool, journals: Path | None) -> Victim:
        """`victim` with the classifier that its target names."""
        if victim.target is None:
            return victim
        try:
            classifier = victim.target.build(
                input_shape=dataset.input_shape, num_classes=dataset.num_classes, trust_code=trust_code,
                journals=journals,
            )  # fmt: skip
        except RobustnoiseError as error:
            raise BadBoard(f"victims.{victim.name}: {error}") from None
        return replace(victim, classifier=classifier)

    def allows(self, attack: Mapping[str, Any]) -> bool:
        """Whether an attack that was handed in claims to have used no more than the board gives; others always do."""
        if "submitted" not in attack:
            return True
        return self.threat is not None and claims_within(attack["scope"], attack["submitted"], self.threat, self.budget)

    def ranks(self, setting: Mapping[str, Any], attack: Mapping[str, Any] | None, victim: Mapping[str, Any]) -> bool:
        """Whether a row follows the board's protocol.

        One that bears a name of the board's victims must be that victim; one without an attack is one of the board's
        victims, on a board with attacks a point of a curve.
        """
        data = setting["data"]
        theirs = {k: setting[k] for k in ("threat", "budget", "draws", "block", "identity")}
        theirs["data"] = {k: data.get(k) for k in ("name", "sizes")}
        namesakes = self._namesakes(victim)
        if namesakes is None:
            return False
        if attack is None:
            wanted = victim["name"] in self.points if self.attacked else bool(namesakes) or "submitted" in victim
        else:
            known_attack = written_out(attack["spec"]) in self._attack_specs or "submitted" in attack
            wanted = attack["scope"] != "audit" and known_attack and self.allows(attack)
        return wanted and "scoring_seed" not in setting and theirs == self.protocol(attacked=attack is not None)

    @cached_property
    def _attack_specs(self) -> list[dict[str, Any]]:
        return [spec_of(a.attack).to_json() for a in self.attacks]

    def audits(self, setting: Mapping[str, Any], victim: Mapping[str, Any]) -> bool:
        """Whether an audit is one of the board's victims, on its data, in its ball."""
        data, threat = setting["data"], setting["threat"]
        ours = self.protocol()
        return (
            bool(self._namesakes(victim))
            and {k: data.get(k) for k in ("name", "sizes")} == ours["data"]
            and {**threat, "access": None} == {**(ours["threat"] or {}), "access": None}
        )

    def _namesakes(self, victim: Mapping[str, Any]) -> list[Victim] | None:
        """The board's victims of that name; None where one of them is another victim."""
        # The text follows from the specs, and may name a recipe that there wasn't yet.
        known = {**victim, "defense": written_out(victim["defense"])}
        namesakes = [v for v in self.victims if v.name == victim["name"]]
        if any({**v.identity(victim["digest"]), "text": victim["text"]} != known for v in namesakes):
            return None
        return namesakes

"""A stack that can't stand is refused before anything is trained for it."""

from __future__ import annotations

from robustnoise.building import spec_of
from robustnoise.compose import Preparing, split_stages
from robustnoise.errors import BadParameter, RobustnoiseError
from robustnoise.harness.bench import Bench
from robustnoise.harness.cells import NotCached
from robustnoise.harness.experiment import Experiment, Victim
from robustnoise.models.fresh import create
from robustnoise.protocols import Classifier, Context
from robustnoise.seeds import SeedStream
from robustnoise.store import Store
from robustnoise.training import LeadingTraining

IMAGES = 16
"""Training images that a rehearsal shows to stages which measure something."""


def rehearse(experiment: Experiment, store: Store) -> None:
    """Put the inference stages of every victim whose weights aren't in the store around its network, on the CPU.

    That is an untrained one, or what a stage that is `ready` brings.

    Raises:
        BadParameter: a stage can't act there, such as noise on a layer that the network hasn't, or behind a vote; or
            trained weights can't be had, or are for other images or classes.
    """
    bench = Bench(experiment, store, compute=False)
    seen: set[tuple[str, ...]] = set()
    for victim in experiment.victims:
        training, inference = split_stages(victim.defense)
        ready = training.traits.ready
        if victim.model is None or not (ready or inference.stages()):
            continue
        key = spec_of(victim.defense if ready else inference).digest(), spec_of(victim.model).digest()
        if key in seen or not _is_to_be_trained(victim, bench):
            continue
        seen.add(key)
        try:
            stand_in(victim, experiment)
        except RobustnoiseError as error:
            raise BadParameter(f"victim {victim.name!r}: {victim.text}: {error}") from None


def stand_in(victim: Victim, experiment: Experiment) -> Classifier:
    """The inference stages of a victim around its network before any training, or one that is ready, on the CPU."""
    train = experiment.dataset.train
    context = Context(train.take(min(IMAGES, len(train))), SeedStream(0, ("rehearse",)))
    training, inference = split_stages(victim.defense)
    net = untrained(victim, experiment)
    return inference.apply(training.apply(net, context) if training.traits.ready else net, context)


def _is_to_be_trained(victim: Victim, bench: Bench) -> bool:
    """Not where a stage takes the place of a training without being ready: nobody knows of which architecture it is."""
    stages = victim.defense.stages()
    if not any(isinstance(stage, LeadingTraining) or stage.traits.ready for stage in stages):
        return False
    try:
        bench.weights(victim)
    except NotCached:
        return True
    return False


def untrained(victim: Victim, experiment: Experiment) -> Classifier:
    """The network of a victim before any training, on the CPU."""
    assert victim.model is not None
    train = experiment.dataset.train
    net: Classifier = create(victim.model, train.input_shape, train.num_classes, seed=0)
    for stage in victim.defense.stages():
        net = stage.prepared(net) if isinstance(stage, Preparing) else net
    return net

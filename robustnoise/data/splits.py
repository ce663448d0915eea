"""How a pool becomes train, attacker, validation and evaluation.

One permutation of the images, from (dataset name, seed) alone, fixes everything. A split has its own place in it:

    single pool      | evaluation -> | validation -> | attacker ->        <- train |
    train part       | validation -> | attacker ->                        <- train |

Evaluation and train start from the two ends, so neither changes when any other size does, and a larger split holds the
smaller one. Validation and attacker start from fixed fractions and skip what is taken, so they move only when
a neighbour outgrows its default.

Every split is in the order of the permutation: its first n images are a random sample, and `--limit n` is fair. The
exception is a test part used whole, which keeps the order of its source. There, ask for
``SplitSizes(evaluation=n)`` to get a random sample instead of the first n.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from robustnoise.data.dataset import Dataset, Overlap, Pool, Split, check_overlap
from robustnoise.errors import BadData
from robustnoise.seeds import SeedStream

Positions = npt.NDArray[np.int64]
EvaluateOn = Literal["test", "validation"]


class Counts(NamedTuple):
    """Numbers of images, every default filled in."""

    train: int
    attacker: int
    validation: int
    evaluation: int


@dataclass(frozen=True)
class SplitSizes:
    """How many images each split gets; None stands for a default that depends on the dataset.

    Defaults with a test part: evaluation is all of it; of the train part, a tenth each for validation and attacker,
    the rest for train (MNIST: 48,000 / 6,000 / 6,000 / 10,000). Defaults of a single pool: a fifth each for
    evaluation and attacker, a tenth for validation, the rest for train.

    Args:
        train: at least 1.
        attacker: at least 0; with overlap ``"same"`` it is the size of train.
        validation: at least 0.
        evaluation: at least 1.
        overlap: ``"none"`` keeps the attacker's ids out of train, ``"same"`` makes them exactly the training ids,
            a share s in (0, 1) samples ``round(s * attacker)`` of them from train and the others from what is left.
        evaluate_on: ``"validation"`` takes the evaluation images from the validation split, its first `evaluation`
            ones, and leaves it the rest: for choosing among defenses without a look at the images that judge them.

    Raises:
        BadData: a size or the overlap is outside its range, or `evaluate_on` is something else.
    """

    train: int | None = None
    _: KW_ONLY
    attacker: int | None = None
    validation: int | None = None
    evaluation: int | None = None
    overlap: Overlap = "none"
    evaluate_on: EvaluateOn = "test"

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("attacker", 0), ("validation", 0), ("evaluation", 1)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadData(f"split size {name} is {value!r}; expected an integer of at least {least}, or None")
        check_overlap(self.overlap)
        if self.evaluate_on not in ("test", "validation"):
            raise BadData(f"evaluate_on is {self.evaluate_on!r}; expected 'test' or 'validation'")
        if self.evaluate_on == "validation" and self.evaluation is None:
            raise BadData("evaluate_on='validation' without a number of images; give evaluation")
        if self.overlap == "same" and None not in (self.train, self.attacker) and self.train != self.attacker:
            raise BadData(
                f"overlap='same' with train={self.train} and attacker={self.attacker}; expected equal sizes. "
                "Leave attacker out"
            )

    def resolve(self, pool: Pool) -> Counts:
        """The sizes for `pool`, defaults filled in.

        Raises:
            BadData: more images are asked for than there are; the message says how many there are.
        """
        total = len(pool)
        test = 0 if pool.evaluation_ids is None else len(np.unique(pool.evaluation_ids))
        rest = total - test
        judged = None if self.evaluate_on == "validation" else self.evaluation
        evaluation = judged or test or max(1, total // 5)
        validation = rest // 10 if self.validation is None else self.validation
        attacker = (rest // 10 if test else rest // 5) if self.attacker is None else self.attacker
        default_train = rest - rest // 10 - (rest // 10 if test else rest // 5 + max(1, total // 5))
        if self.overlap == "same":
            train = attacker = self.train or self.attacker or default_train
        else:
            train = self.train or default_train
        if self.evaluate_on == "validation" and (self.evaluation or 0) > validation:
            raise BadData(
                f"{pool.name}: evaluate_on='validation' with evaluation={self.evaluation}, and validation has "
                f"{validation} images. Ask for fewer, or for more validation images"
            )
        counts = Counts(train, attacker, validation, evaluation)
        self._check_fits(pool.name, counts, rest, test)
        return counts

    def _check_fits(self, name: str, counts: Counts, rest: int, test: int) -> None:
        shared = self.shared(counts)
        left_out = [field for field in Counts._fields if getattr(self, field) is None]
        advice = "Ask for fewer" + (f" (left to their default: {', '.join(left_out)})" if left_out else "")
        if counts.train < 1:
            raise BadData(f"{name} has {rest} images to split; expected at least 2. Add images")
        if shared > counts.train:
            raise BadData(
                f"{name}: overlap={self.overlap} of {counts.attacker} attacker images are {shared}, but train has "
                f"only {counts.train}. Ask for more train or fewer attacker images"
            )
        if test and counts.evaluation > test:
            raise BadData(
                f"{name}: {counts.evaluation} evaluation images were asked for; its test part has {test}. Ask for fewer"
            )
        own = counts.attacker - shared
        asked = counts.train + own + counts.validation + (0 if test else counts.evaluation)
        if asked > rest:
            parts = f"train {counts.train} + attacker {own} + validation {counts.validation}"
            if shared:
                parts += f" ({shared} more attacker images are shared with train)"
            where = "outside its test part" if test else "in all"
            if not test:
                parts += f" + evaluation {counts.evaluation}"
            raise BadData(f"{name} has {rest} images {where}; {parts} = {asked} were asked for. {advice}")

    def shared(self, counts: Counts) -> int:
        """How many of the attacker's ids are training ids."""
        if self.overlap == "none":
            return 0
        return counts.attacker if self.overlap == "same" else round(float(self.overlap) * counts.attacker)


DEFAULT_SIZES = SplitSizes()


def _claim(preference: Positions, count: int, taken: npt.NDArray[np.bool_]) -> Positions:
    """The first `count` positions in order of preference that nobody has; marks them as taken."""
    chosen = preference[~taken[preference]][:count]
    taken[chosen] = True
    return chosen


def split_pool(pool: Pool, *, sizes: SplitSizes = DEFAULT_SIZES, seed: int = 0) -> Dataset:
    """Split `pool`; the same name, sizes and seed give the same ids in every process.

    Args:
        pool: all images of a source.
        sizes: how many images each split gets, and how attacker and train overlap.
        seed: the user's seed.

    Raises:
        BadData: the sizes don't fit.
    """
    counts = sizes.resolve(pool)
    stream = SeedStream(seed).child("split", pool.name)
    taken = np.zeros(len(pool), np.bool_)
    if pool.evaluation_ids is None:
        order = stream.numpy("pool").permutation(len(pool)).astype(np.int64)
        evaluation = _claim(order, counts.evaluation, taken)
        validation_start = len(order) // 5
        attacker_start = validation_start + len(order) // 10
    else:
        is_test = np.isin(pool.ids, pool.evaluation_ids)
        test = np.flatnonzero(is_test)
        if counts.evaluation < len(test):
            test = stream.numpy("test").permutation(test)[: counts.evaluation]
        evaluation = test
        taken[is_test] = True
        order = stream.numpy("pool").permutation(np.flatnonzero(~is_test))
        validation_start = 0
        attacker_start = len(order) // 10
    train = _claim(order[::-1], counts.train, taken)
    validation = _claim(np.roll(order, -validation_start), counts.validation, taken)
    shared = sizes.shared(counts)
    if sizes.overlap == "same":
        attacker = train
    else:
        own = _claim(np.roll(order, -attacker_start), counts.attacker - shared, taken)
        attacker = np.concatenate([train[:shared], own])
        if shared:
            # Otherwise the attacker's first images would all be training images.
            attacker = stream.numpy("attacker").permutation(attacker)

    def part(name: str, positions: Positions) -> Split:
        return Split(
            pool.ids[positions],
            images=pool.images[positions],
            labels=pool.labels[positions],
            num_classes=pool.num_classes,
            name=name,
        )

    if sizes.evaluate_on == "validation":
        chosen = sizes.evaluation or 0
        evaluation, validation = validation[:chosen], validation[chosen:]
    evaluation_split = part("evaluation", evaluation)
    return Dataset(
        pool.name,
        digest=pool.digest,
        num_classes=pool.num_classes,
        input_shape=evaluation_split.input_shape,
        train=part("train", train),
        attacker=part("attacker", attacker),
        validation=part("validation", validation),
        evaluation=evaluation_split,
        overlap=sizes.overlap,
    )

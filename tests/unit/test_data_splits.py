"""Properties of the split: disjoint, reproducible, and stable when another size changes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnoise.data import Dataset, Overlap, Pool, SplitSizes, split_pool
from robustnoise.errors import BadData


def make_pool(n: int, test: int = 0, name: str = "toy") -> Pool:
    ids = np.arange(n, dtype=np.int64) * 3 + 1  # ids are not positions
    images = np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (n, 1, 2, 2)).copy()
    return Pool(
        name, images=images, labels=ids % 4, ids=ids, num_classes=4, evaluation_ids=ids[n - test :] if test else None
    )


def sizes_of(
    train: int, attacker: int | None, validation: int, evaluation: int, overlap: Overlap = "none"
) -> SplitSizes:
    return SplitSizes(train, attacker=attacker, validation=validation, evaluation=evaluation, overlap=overlap)


def ids_of(data: Dataset) -> tuple[list[int], ...]:
    return tuple(s.ids.tolist() for s in (data.train, data.attacker, data.validation, data.evaluation))


@st.composite
def sizes_and_pool(draw: st.DrawFn) -> tuple[Pool, SplitSizes]:
    n = draw(st.integers(20, 120))
    test = draw(st.sampled_from([0, n // 4]))
    evaluation = draw(st.integers(1, n // 4))
    rest = n - (test or evaluation)
    overlap: Overlap = draw(st.sampled_from(["none", "same", 0.25, 0.5, 0.9]))
    validation = draw(st.integers(0, rest // 3))
    train = draw(st.integers(1, rest // 3))
    attacker = None if overlap == "same" else draw(st.integers(0, train if overlap != "none" else rest // 3))
    return make_pool(n, test), sizes_of(train, attacker, validation, evaluation, overlap)


@settings(max_examples=60, deadline=None)
@given(sizes_and_pool(), st.integers(0, 5))
def test_splits_have_the_sizes_and_the_overlap_asked_for(case: tuple[Pool, SplitSizes], seed: int) -> None:
    pool, sizes = case
    data = split_pool(pool, sizes=sizes, seed=seed)
    train, attacker, validation, evaluation = map(set, ids_of(data))
    assert (len(data.train), len(data.validation), len(data.evaluation)) == (
        sizes.train,
        sizes.validation,
        sizes.evaluation,
    )
    assert not evaluation & (train | attacker | validation)
    assert not validation & (train | attacker)
    if sizes.overlap == "same":
        assert attacker == train
    else:
        assert len(data.attacker) == sizes.attacker
        share = 0.0 if sizes.overlap == "none" else float(sizes.overlap)
        assert len(attacker & train) == round(share * len(data.attacker))
    if pool.evaluation_ids is not None:
        assert evaluation <= set(pool.evaluation_ids.tolist())
        assert not (train | attacker | validation) & set(pool.evaluation_ids.tolist())
    for split in (data.train, data.attacker, data.validation, data.evaluation):
        np.testing.assert_array_equal(split.labels, split.ids % 4)
        np.testing.assert_array_equal(split.images[:, 0, 0, 0], split.ids.astype(np.uint8))
    assert ids_of(split_pool(pool, sizes=sizes, seed=seed)) == ids_of(data)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0, 40]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_train_and_evaluation_dont_move_when_another_size_changes(
    test: int, train: int, evaluation: int, attacker: int, attacker2: int, validation: int, validation2: int
) -> None:
    pool = make_pool(200, test)
    a = split_pool(pool, sizes=sizes_of(train, attacker, validation, evaluation))
    b = split_pool(pool, sizes=sizes_of(train, attacker2, validation2, evaluation))
    assert a.train.digest == b.train.digest
    assert a.evaluation.digest == b.evaluation.digest
    c = split_pool(pool, sizes=sizes_of(train + 1, attacker, validation, max(1, evaluation - 1)))
    assert c.train.ids.tolist()[:train] == a.train.ids.tolist()


def test_validation_and_attacker_stay_within_the_defaults_of_their_neighbours() -> None:
    pool = make_pool(100)
    a = split_pool(pool, sizes=sizes_of(10, 20, 10, 5))
    b = split_pool(pool, sizes=sizes_of(50, 20, 10, 20))
    assert a.validation.digest == b.validation.digest
    assert a.attacker.digest == b.attacker.digest


def test_smaller_splits_are_the_start_of_larger_ones() -> None:
    large = split_pool(make_pool(100), sizes=sizes_of(40, 20, 10, 20))
    small = split_pool(make_pool(100), sizes=sizes_of(20, 10, 5, 10))
    for a, b in zip(ids_of(small), ids_of(large), strict=True):
        assert a == b[: len(a)]


def test_default_sizes() -> None:
    assert [len(i) for i in ids_of(split_pool(make_pool(1797)))] == [900, 359, 179, 359]
    assert [len(i) for i in ids_of(split_pool(make_pool(700, 100)))] == [480, 60, 60, 100]
    assert [len(i) for i in ids_of(split_pool(make_pool(2)))] == [1, 0, 0, 1]
    same = split_pool(make_pool(700, 100), sizes=SplitSizes(overlap="same"))
    assert [len(i) for i in ids_of(same)] == [480, 480, 60, 100]
    assert same.attacker.digest == same.train.digest
    assert [len(i) for i in ids_of(split_pool(make_pool(100), sizes=SplitSizes(attacker=7, overlap="same")))][:2] == [
        7,
        7,
    ]


def test_whole_test_part_keeps_its_order_and_a_part_of_it_is_a_random_sample() -> None:
    pool = make_pool(700, 100)
    assert pool.evaluation_ids is not None
    test = pool.evaluation_ids.tolist()
    assert split_pool(pool).evaluation.ids.tolist() == test
    part = split_pool(pool, sizes=SplitSizes(evaluation=50)).evaluation.ids.tolist()
    assert part != test[:50]
    assert set(part) < set(test)
    assert part != sorted(part)


def test_seed_and_name_move_the_split() -> None:
    splits = {
        tuple(split_pool(make_pool(60, name=name), seed=seed).evaluation.ids.tolist())
        for name in ("a", "b")
        for seed in (0, 1, 2**70)
    }
    assert len(splits) == 6


def test_split_is_the_same_in_another_process() -> None:
    data = split_pool(make_pool(60), seed=3)
    code = (
        "import numpy as np\n"
        "from robustnoise.data import Pool, split_pool\n"
        "ids = np.arange(60, dtype=np.int64) * 3 + 1\n"
        "images = np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (60, 1, 2, 2)).copy()\n"
        "d = split_pool(Pool('toy', images=images, labels=ids % 4, ids=ids, num_classes=4), seed=3)\n"
        "print(d.digest, d.train.digest, d.evaluation.digest)"
    )
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == [data.digest, data.train.digest, data.evaluation.digest]


def test_this_split_never_changes() -> None:
    """Golden ids: another permutation would silently move every measured number."""
    assert ids_of(split_pool(make_pool(20))) == (
        [55, 31, 43, 25, 19, 34, 52, 22, 40, 13],
        [37, 7, 10, 4],
        [16, 58],
        [1, 46, 28, 49],
    )


def test_attackers_shared_ids_are_not_all_in_front() -> None:
    data = split_pool(make_pool(200), sizes=sizes_of(60, 40, 10, 40, 0.5))
    first = np.isin(data.attacker.ids[:20], data.train.ids).sum()
    assert 2 < first < 18


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 0}, "train is 0; expected an integer of at least 1"),
        ({"evaluation": 0}, "evaluation is 0; expected an integer of at least 1"),
        ({"attacker": -1}, "attacker is -1; expected an integer of at least 0"),
        ({"validation": 2.5}, "validation is 2.5"),
        ({"train": True}, "train is True"),
        ({"overlap": 0.0}, "overlap is 0.0; expected 'none', 'same' or a share"),
        ({"overlap": 1}, "overlap is 1;"),
        ({"overlap": True}, "overlap is True"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"overlap": "all"}, "overlap is 'all'"),
        ({"train": 5, "attacker": 6, "overlap": "same"}, "train=5 and attacker=6; expected equal sizes"),
    ],
)
def test_bad_sizes_are_refused(sizes: dict[str, object], message: str) -> None:
    with pytest.raises(BadData, match=message):
        SplitSizes(**sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("test", "sizes", "message"),
    [
        (
            0,
            SplitSizes(train=90),
            r"toy has 100 images in all; train 90 \+ attacker 20 .*left to their default: attack",
        ),
        (0, sizes_of(50, 20, 11, 20), r"validation 11 \+ evaluation 20 = 101 were asked for. Ask for fewer$"),
        (40, SplitSizes(train=60), "toy has 60 images outside its test part; train 60"),
        (40, SplitSizes(evaluation=41), "41 evaluation images were asked for; its test part has 40"),
        (40, SplitSizes(train=4, attacker=20, overlap=0.5), "of 20 attacker images are 10, but train has only 4"),
        (40, SplitSizes(train=50, attacker=20, overlap=0.5), r"attacker 10 .*\(10 more attacker images are shared"),
        (40, SplitSizes(train=61, overlap="same"), "60 images outside"),
    ],
)
def test_too_large_sizes_say_what_is_available(test: int, sizes: SplitSizes, message: str) -> None:
    with pytest.raises(BadData, match=message):
        split_pool(make_pool(100, test), sizes=sizes)


def test_one_image_cant_be_split() -> None:
    with pytest.raises(BadData, match="toy has 1 images to split; expected at least 2"):
        split_pool(make_pool(1))


@pytest.mark.parametrize("test", [0, 100])
def test_choosing_sees_validation_images_alone_and_the_same_training_images(test: int) -> None:
    pool = make_pool(700, test)
    judging = split_pool(pool, sizes=SplitSizes(300, validation=60))
    choosing = split_pool(pool, sizes=SplitSizes(300, validation=60, evaluation=40, evaluate_on="validation"))
    assert choosing.evaluation.digest == judging.validation.take(40).digest
    assert list(choosing.validation.ids) == list(judging.validation.ids[40:])
    assert choosing.train.digest == judging.train.digest
    assert not set(choosing.evaluation.ids) & set(judging.evaluation.ids)


def test_choosing_needs_enough_validation_images() -> None:
    with pytest.raises(BadData, match="validation has 60 images"):
        split_pool(make_pool(700), sizes=SplitSizes(300, validation=60, evaluation=61, evaluate_on="validation"))
    with pytest.raises(BadData, match="give evaluation"):
        SplitSizes(300, validation=60, evaluate_on="validation")

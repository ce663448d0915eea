"""Split, Pool and Dataset: what they refuse, and what their digests depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from robustnoise.data import Dataset, Overlap, Pool, Split, check_splits
from robustnoise.errors import BadData


def make_split(ids: list[int], name: str = "train", *, num_classes: int = 3, size: int = 2) -> Split:
    levels = np.array(ids, np.int64).astype(np.uint8)
    return Split(
        np.array(ids, np.int64),
        images=np.repeat(levels, size * size).reshape(-1, 1, size, size),
        labels=np.array(ids, np.int64) % num_classes,
        num_classes=num_classes,
        name=name,
    )


def make_dataset(
    train: list[int], attacker: list[int], validation: list[int], evaluation: list[int], overlap: Overlap = "none"
) -> Dataset:
    return Dataset(
        "toy",
        digest="0" * 64,
        num_classes=3,
        input_shape=(1, 2, 2),
        train=make_split(train, "train"),
        attacker=make_split(attacker, "attacker"),
        validation=make_split(validation, "validation"),
        evaluation=make_split(evaluation, "evaluation"),
        overlap=overlap,
    )


def test_split_gives_levels_divided_by_255_as_float32() -> None:
    split = make_split(list(range(256)))
    floats = split.floats()
    assert floats.dtype == np.float32
    assert floats.shape == (256, 1, 2, 2)
    assert floats[0].max() == 0
    assert floats[255].min() == 1
    np.testing.assert_array_equal(np.rint(floats * 255).astype(np.uint8), split.images)
    np.testing.assert_array_equal(split.floats(3, 5), floats[3:5])
    floats[:] = 0  # a fresh array: the split keeps its images
    assert split.images[255].min() == 255


def test_split_takes_its_first_images() -> None:
    split = make_split([4, 2, 9], "evaluation")
    taken = split.take(2)
    assert taken.ids.tolist() == [4, 2]
    assert taken.name == "evaluation"
    assert len(taken) == 2
    assert split.input_shape == (1, 2, 2)
    assert split.take(3).digest == split.digest
    for n in (0, 4, -1):
        with pytest.raises(BadData, match="expected 1 to 3"):
            split.take(n)


def test_split_is_read_only_and_leaves_the_callers_arrays_writable() -> None:
    ids = np.arange(2, dtype=np.int64)
    images = np.zeros((2, 1, 2, 2), np.uint8)
    split = Split(ids, images=images, labels=np.zeros(2, np.int64), num_classes=2, name="s")
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 1
    images[0] = 1
    ids[0] = 5


def test_digest_depends_on_everything_but_the_name() -> None:
    split = make_split([1, 2, 3])
    assert split.digest == make_split([1, 2, 3], "other").digest
    labels = split.labels.copy()
    labels[0] = 0
    images = split.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = [
        dataclasses.replace(split, ids=split.ids + 1),
        dataclasses.replace(split, labels=labels),
        dataclasses.replace(split, images=images),
        dataclasses.replace(split, images=split.images.reshape(3, 1, 1, 4)),
        dataclasses.replace(split, num_classes=4),
        split.take(2),
    ]
    assert len({split.digest, *(s.digest for s in changed)}) == 7


def test_digest_is_made_of_these_bytes() -> None:
    """Records hold this digest: another encoding would disown all of them."""
    split = make_split([3, 1])
    header = json.dumps({"num_classes": 3, "shape": [2, 1, 2, 2]}, sort_keys=True).encode()
    arrays = split.ids.astype("<i8").tobytes() + split.images.tobytes() + split.labels.astype("<i8").tobytes()
    assert split.digest == hashlib.sha256(header + arrays).hexdigest()


def test_dataset_survives_the_way_to_a_worker_process() -> None:
    data = make_dataset([0, 1], [2], [3], [4, 5])
    again = pickle.loads(pickle.dumps(data))
    assert (again.digest, again.evaluation.digest) == (data.digest, data.evaluation.digest)


def test_empty_split_is_possible() -> None:
    split = make_split([])
    assert len(split) == 0
    assert split.floats().shape == (0, 1, 2, 2)
    assert len(split.digest) == 64


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", np.zeros((3, 1, 2, 2), np.float32), r"images are float32 of shape \(3, 1, 2, 2\); expected uint8"),
        ("images", np.zeros((3, 2, 2), np.uint8), "expected uint8 of shape"),
        ("images", np.zeros((3, 0, 2, 2), np.uint8), "expected uint8 of shape"),
        ("images", [[1]], "images are list"),
        ("ids", np.arange(3, dtype=np.int32), "ids are int32"),
        ("ids", np.arange(2), r"expected int64 of shape \(3,\)"),
        ("ids", np.array([0, 7, 7]), "id 7 occurs twice"),
        ("ids", np.array([0, -1, 7]), "id -1 is negative"),
        ("labels", np.zeros(3), "labels are float64"),
        ("labels", np.array([0, 1, 3]), "label of image 2 is 3; expected 0 to 2"),
        ("labels", np.array([0, -1, 2]), "label of image 1 is -1"),
        ("num_classes", 1, "too few classes: num_classes is 1"),
        ("num_classes", 3.0, "too few classes"),
        ("num_classes", True, "too few classes"),
    ],
)
def test_split_refuses_bad_arrays(field: str, value: object, message: str) -> None:
    with pytest.raises(BadData, match=message):
        dataclasses.replace(make_split([0, 1, 2]), **{field: value})  # type: ignore[arg-type]


def test_pool_checks_its_test_part() -> None:
    split = make_split([0, 1, 2])

    def pool(test: list[int]) -> Pool:
        return Pool(
            "toy",
            images=split.images,
            labels=split.labels,
            ids=split.ids,
            num_classes=3,
            evaluation_ids=np.array(test, np.int64),
        )

    assert pool([2]).digest != pool([1]).digest
    assert len(pool([2])) == 3
    with pytest.raises(BadData, match="evaluation id 5 is no id of the dataset"):
        pool([2, 5])
    for test in ([], [0, 1, 2]):
        with pytest.raises(BadData, match="expected some, not all"):
            pool(test)
    with pytest.raises(BadData, match="dataset 'toy': too few classes"):
        Pool("toy", images=split.images, labels=split.labels, ids=split.ids, num_classes=1)


def test_dataset_built_by_hand() -> None:
    data = make_dataset([0, 1], [2], [3], [4, 5])
    assert data.overlap == "none"
    assert make_dataset([0, 1], [1, 0], [3], [4], "same").overlap == "same"
    assert make_dataset([0, 1], [1, 2], [], [4], 0.5).overlap == 0.5


@pytest.mark.parametrize(
    ("splits", "overlap", "message"),
    [
        (([0, 1], [2], [3], [4, 1]), "none", "1 of 2 ids of 'evaluation' are in 'train' too, for example id 1"),
        (([0, 1], [2, 4], [3], [4, 5]), "none", "1 of 2 ids of 'evaluation' are in 'attacker'"),
        (([0, 1], [2], [4, 5], [4, 5]), "none", "2 of 2 ids of 'evaluation' are in 'validation'"),
        (([0, 1], [2], [1], [4]), "none", "ids of 'validation' are in 'train'"),
        (([0, 1], [2], [2], [4]), "none", "ids of 'validation' are in 'attacker'"),
        (([0, 1], [1], [3], [4]), "none", "ids of 'attacker' are in 'train' too.*overlap='same'"),
        (([0, 1], [0, 1], [3], [0]), "same", "ids of 'evaluation' are in 'train'"),
        (([0, 1], [0], [3], [4]), "same", "of 1 attacker ids 1 are among the 2 training ids"),
        (([0, 1], [0, 2], [3], [4]), "same", "of 2 attacker ids 1 are among"),
        (([0, 1], [0, 1], [3], [4]), 0.5, "2 of 2 attacker ids are training ids; expected 1"),
        (([0, 1], [2], [3], [4]), 1.5, "overlap is 1.5"),
        (([0, 1], [2], [3], [4]), "some", "overlap is 'some'"),
        (([0, 1], [2], [3], []), "none", "split 'evaluation' is empty"),
        (([], [2], [3], [4]), "none", "split 'train' is empty"),
    ],
)
def test_dataset_refuses_overlapping_splits(
    splits: tuple[list[int], list[int], list[int], list[int]], overlap: Overlap, message: str
) -> None:
    with pytest.raises(BadData, match=message):
        make_dataset(*splits, overlap)


def test_check_splits_can_be_called_alone() -> None:
    a, b, c = make_split([0], "a"), make_split([1], "b"), make_split([2], "c")
    check_splits(train=a, attacker=a, validation=b, evaluation=c, overlap="same")
    with pytest.raises(BadData, match="overlapping splits"):
        check_splits(train=a, attacker=b, validation=c, evaluation=a, overlap="none")


def test_dataset_refuses_splits_of_another_kind() -> None:
    data = make_dataset([0], [1], [2], [3])
    with pytest.raises(BadData, match=r"split 'validation' has 4 classes.*expected 3 classes"):
        dataclasses.replace(data, validation=make_split([2], "validation", num_classes=4))
    with pytest.raises(BadData, match=r"images of shape \(1, 5, 5\)"):
        dataclasses.replace(data, attacker=make_split([1], "attacker", size=5))


def test_importing_the_data_layer_is_light() -> None:
    code = (
        "import sys, robustnoise.data\n"
        "heavy = {'torch', 'sklearn', 'mlxtend', 'pooch', 'PIL', 'rich', 'pandas', 'scipy'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    env = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == []

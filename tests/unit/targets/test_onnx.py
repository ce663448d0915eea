"""ONNX files: they answer as the network they were made from, fixed batches or not, and open no other file."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robustnoise as rn
from robustnoise.errors import BadData, BadParameter
from robustnoise.seeds import SeedStream
from robustnoise.spec import digest_of
from robustnoise.threat import Access

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHAPE, CLASSES = (2, 3, 3), 4
NOISE = SeedStream(0, ("onnx",))
X = torch.rand(7, *SHAPE, generator=NOISE.generator("x"))
WEIGHT = torch.rand(18, CLASSES, generator=NOISE.generator("w"))
SETTING: dict[str, Any] = {"input_shape": SHAPE, "num_classes": CLASSES}


def model(batch: int | str = "n", *, kind: int = 1, tail: str | None = None, pixels: int = 3) -> Any:
    """A linear network of float32 (1), float64 (11) or float16 (10)."""
    from onnx import TensorProto, helper, numpy_helper

    dtype = {1: np.float32, 11: np.float64, 10: np.float16}[kind]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    out = [helper.make_tensor_value_info("logits", kind, [batch, CLASSES])]
    if tail == "softmax":
        nodes.append(helper.make_node("Softmax", ["logits"], ["p"], axis=1))
        out = [helper.make_tensor_value_info("p", kind, [batch, CLASSES])]
    if tail == "argmax":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0))
        out = [helper.make_tensor_value_info("label", TensorProto.INT64, [batch]), *out]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", kind, [batch, 2, pixels, pixels])],
        out,
        [numpy_helper.from_array(WEIGHT.numpy().astype(dtype), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(folder: Path, made: Any, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("batch", ["n", 1, 4, 7, 16])
@pytest.mark.parametrize("kind", [1, 11, 10])
def test_it_answers_as_the_network_whatever_its_batch(tmp_path: Path, batch: int | str, kind: int) -> None:
    target = rn.models.from_onnx(saved(tmp_path, model(batch, kind=kind)), **SETTING)
    said = target.predict(X, noise=NOISE)
    assert said.logits is not None
    torch.testing.assert_close(said.logits, X.flatten(1) @ WEIGHT, rtol=1e-2 if kind == 10 else 1e-5, atol=1e-5)
    assert target.predict(X[:0], noise=NOISE).labels.shape == (0,)
    # The session stays behind, and is made again.
    copy = pickle.loads(pickle.dumps(target))
    assert torch.equal(copy.predict(X, noise=NOISE).labels, said.labels)


def test_outputs_and_normalisation(tmp_path: Path) -> None:
    mean, std = torch.tensor([0.5, 0.1]), torch.tensor([2.0, 0.5])
    logits = ((X - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).flatten(1) @ WEIGHT
    normal = {"mean": mean.tolist(), "std": std.tolist(), **SETTING}
    soft = saved(tmp_path, model(tail="softmax"), "soft.onnx")
    found = rn.models.from_onnx(soft, output="probabilities", **normal)
    said = found.predict(X, noise=NOISE)
    assert said.scores is not None
    torch.testing.assert_close(said.scores, logits.softmax(1))
    assert found.access is Access.SCORES
    both = saved(tmp_path, model(tail="argmax"), "both.onnx")
    labels = rn.models.from_onnx(both, output="labels", **normal)
    assert torch.equal(labels.predict(X, noise=NOISE).labels, logits.argmax(1))
    named = rn.models.from_onnx(both, output_name="logits", **normal)
    torch.testing.assert_close(named.predict(X, noise=NOISE).logits, logits)
    plain = rn.models.from_onnx(soft, output="probabilities", **SETTING)
    assert len({found.digest, labels.digest, named.digest, plain.digest}) == 4


@pytest.mark.parametrize("as_given", [list, tuple, np.asarray, torch.tensor], ids=lambda f: f.__name__)
def test_mean_and_std_may_be_arrays_and_tensors(tmp_path: Path, as_given: Any) -> None:
    path, mean, std = saved(tmp_path, model()), [0.5, 0.0], [2.0, 0.25]
    listed = rn.models.from_onnx(path, mean=mean, std=std, **SETTING)
    found = rn.models.from_onnx(path, mean=as_given(mean), std=as_given(std), **SETTING)
    assert found.digest == listed.digest != rn.models.from_onnx(path, **SETTING).digest
    assert torch.equal(found.predict(X, noise=NOISE).logits, listed.predict(X, noise=NOISE).logits)  # type: ignore[arg-type]


def test_the_digest_of_a_normalised_file_is_what_it_was(tmp_path: Path) -> None:
    """Rows and cells are found by it."""
    path = saved(tmp_path, model())
    content = [hashlib.sha256(path.read_bytes()).hexdigest(), [0.31, 0.5], [0.38, 1.5], None]
    expected = digest_of(["OnnxTarget", content, list(SHAPE), CLASSES, "logits", False])
    assert rn.models.from_onnx(path, mean=[0.31, 0.5], std=[0.38, 1.5], **SETTING).digest == expected


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, model())
    with pytest.raises(BadParameter, match=r"expected \[2, 4, 4\]"):
        rn.models.from_onnx(path, input_shape=(2, 4, 4), num_classes=CLASSES)
    with pytest.raises(BadParameter, match="its outputs are logits"):
        rn.models.from_onnx(path, output_name="p", **SETTING)
    with pytest.raises(BadData, match="No such file"):
        rn.models.from_onnx(tmp_path / "absent.onnx", **SETTING)


def external(made: Any, location: str) -> Any:
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return made


@pytest.mark.parametrize("location", ["w.bin", "../w.bin", "/etc/passwd"])
def test_tensors_in_other_files_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.numpy().tobytes())
    with pytest.raises(BadData, match="lies in another file"):
        rn.models.from_onnx(saved(tmp_path, external(model(), location)), **SETTING)


def test_tensors_in_other_files_are_found_in_subgraphs(tmp_path: Path) -> None:
    made, inner = model(), external(model(), "w.bin")
    node = made.graph.node.add()
    node.op_type = "If"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    attribute.g.CopyFrom(inner.graph)
    with pytest.raises(BadData, match="lies in another file"):
        rn.models.from_onnx(saved(tmp_path, made), **SETTING)


def test_spoilt_files_are_refused_or_answer(tmp_path: Path) -> None:
    body = model().SerializeToString()
    generator = NOISE.numpy("fuzz")
    path = tmp_path / "spoilt.onnx"
    refused = 0
    for i in range(60):
        spoilt = bytearray(body)
        for _ in range(int(generator.integers(1, 4))):
            spoilt[int(generator.integers(len(spoilt)))] = int(generator.integers(256))
        path.write_bytes(bytes(spoilt[: int(generator.integers(len(spoilt)))]) if i % 3 == 0 else bytes(spoilt))
        try:
            rn.models.from_onnx(path, **SETTING)
        except (BadData, BadParameter) as error:
            assert "spoilt.onnx" in str(error)
            refused += 1
    assert refused > 20

"""ONNX files from strangers, cut and changed, and graphs that ask for more than there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustnoise.errors import BadData, BadParameter
from robustnoise.models.targets.onnx_file import from_onnx
from tests.hostile.bounds import bounded
from tests.hostile.mutations import damaged, examples

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHAPE, CLASSES = (1, 2, 2), 3


def linear() -> bytes:
    """A small network."""
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, CLASSES], [0.5] * 12)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SHAPE])]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])]
    graph = helper.make_graph(nodes, "toy", takes, gives, [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


REAL = linear()


def refused_or_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        with bounded():
            from_onnx(path, input_shape=SHAPE, num_classes=CLASSES)
    except (BadData, BadParameter) as error:
        assert str(path) in str(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the file; one is loaded first, which opens the library's own files."""
    file = tmp_path_factory.mktemp("onnx") / "m.onnx"
    file.write_bytes(REAL)
    from_onnx(file, input_shape=SHAPE, num_classes=CLASSES)
    return file


@given(content=damaged(REAL))
@examples(60)
def test_strange_networks_are_refused_or_read(path: Path, content: bytes) -> None:
    refused_or_read(path, content)


@pytest.mark.slow
@given(data=st.data())
@examples(3000)
def test_more_strange_networks_are_refused_or_read(path: Path, data: st.DataObject) -> None:
    refused_or_read(path, data.draw(damaged(REAL)))


def test_a_constant_that_fills_memory_is_refused_while_it_is_loaded(path: Path) -> None:
    from onnx import TensorProto, helper

    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [2**20, 2**20])
    made = onnx.load_model_from_string(REAL)
    made.graph.initializer.append(sizes)
    made.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sizes"], ["huge"]))
    made.graph.node.insert(1, helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    made.graph.node.append(helper.make_node("Add", ["logits", "sum"], ["more"]))
    made.graph.output[0].name = "more"
    refused_or_read(path, made.SerializeToString())

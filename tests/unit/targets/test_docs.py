"""The examples of docs/targets.md run as they are written."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustnoise.board import board_from
from robustnoise.cli.running import target_options
from robustnoise.models.targets.text import TargetText
from robustnoise.seeds import SeedStream

PAGE = (Path(__file__).parents[3] / "docs" / "targets.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_kind_has_its_example() -> None:
    from robustnoise import models

    made = {name for name in models._LAZY if name.startswith("from_")}
    assert set(re.findall(r"`(from_\w+)`", PAGE)) == made
    assert set(re.findall(r"models\.(from_\w+)\(", PAGE)) == made - {"from_factory"}


@pytest.mark.adapter
def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        if "from_onnx" in block:
            try:
                write_onnx(tmp_path / "model.onnx")
            except ImportError:
                continue
        if "from_http" in block:
            pytest.importorskip("httpx")
        exec(compile(block, "docs/targets.md", "exec"), names)
        x = torch.from_numpy(names["digits"].evaluation.floats(0, 3))
        if "from_http" not in block:  # nobody listens there
            assert names["victim"].predict(x, noise=SeedStream(0)).labels.shape == (3,)
    assert names["victim"].charged == 0


def write_onnx(path: Path) -> None:
    import onnxruntime  # noqa: F401
    from onnx import helper, numpy_helper

    weight = nn.Linear(64, 10).weight.detach().numpy().T.copy()
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    takes = [helper.make_tensor_value_info("x", 1, ["n", 1, 8, 8])]
    gives = [helper.make_tensor_value_info("y", 1, ["n", 10])]
    graph = helper.make_graph(nodes, "g", takes, gives, [numpy_helper.from_array(weight, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())


def test_the_command_lines_name_targets() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line) for line in block.replace("\\\n", " ").strip().splitlines()]
    kinds = []
    for words in lines:
        options = [words[i + 1] for i, word in enumerate(words) if word == "--option"]
        kinds.append(TargetText(words[words.index("--target") + 1], target_options(options)).kind)
    assert kinds == ["onnx", "http", "factory"]


def test_the_board_loads() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    head = 'schema = 1\nname = "docs"\n[data]\nname = "digits"\n[threat]\nnorm = "linf"\neps = 0.1\n'
    board = board_from(tomllib.loads(head + block + '[attacks]\nnull = "null"\n'), "docs/targets.md")
    assert [v.reference for v in board.victims] == [None, "mine"]

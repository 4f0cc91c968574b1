"""ONNX files give in onnxruntime what the network gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.structured import compact, unit_masks
from howsparse.structured import onnx as ours
from tests.structured.networks import groups_of, made, some_units


def _needs_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} (extra onnx) is not installed")


def test_a_compacted_network_runs_in_onnxruntime_at_any_batch_size(tmp_path: Path) -> None:
    _needs_onnx()
    import onnxruntime

    network, inputs = made("mixed")
    small = compact(network, unit_masks(network, some_units(groups_of("mixed"), 3)), inputs).model
    path = tmp_path / "small.onnx"
    assert ours.write_onnx(small, lambda m: m(inputs), path) <= 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = torch.randn(5, *inputs.shape[1:])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(out), small.eval()(x), atol=1e-4)


def test_what_cannot_be_exported_leaves_no_file(tmp_path: Path) -> None:
    _needs_onnx()

    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(HowsparseError, match="Undecided cannot be written as ONNX"):
        ours.write_onnx(Undecided(), lambda m: m(torch.ones(2, 2)), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_come_with_the_line_that_installs_them(monkeypatch: Any) -> None:
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        HowsparseError, match=r"ONNX needs onnx, onnxscript, onnxruntime.*pip install 'howsparse\[onnx\]'"
    ):
        ours.check_onnx()

"""The files: they make the small network from the user's class, elsewhere, without howsparse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from howsparse.errors import HowsparseError
from howsparse.structured import Plan, compact, fingerprint, unit_masks
from howsparse.structured.rebuild import rebuild
from tests.structured.networks import MobileNet, ViT, groups_of, made, some_units

USERS_CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.width = 3, 4
        self.embed, self.norm = nn.Linear(5, 12), nn.LayerNorm(12)
        self.q, self.k, self.v, self.o = (nn.Linear(12, 12) for _ in range(4))
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)

    def forward(self, x):
        x = self.embed(x)
        y = self.norm(x)
        q, k, v = (self.split(part(y)) for part in (self.q, self.k, self.v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(self.norm(x))))
"""

ELSEWHERE = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("howsparse", "torch_pruning", "numpy.testing", "scipy"):
            raise ImportError(f"{name} is not to be had here")


sys.meta_path.insert(0, Refuse())
sys.path.insert(0, "small")
import torch
from nets import Net
from rebuild import rebuild

try:
    import howsparse
except ImportError:
    pass
else:
    raise SystemExit("howsparse could be imported")
network = rebuild(Net())
case = torch.load("case.pt", weights_only=True)
print(float((network(case["x"]) - case["y"]).abs().max()), sum(p.numel() for p in network.parameters()))
"""


def test_a_process_that_cannot_import_howsparse_rebuilds_the_network(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(USERS_CODE)
    scope: dict[str, Any] = {}
    exec(USERS_CODE, scope)
    torch.manual_seed(0)
    network, x = scope["Net"](), torch.randn(2, 6, 5)
    from howsparse.structured import channel_groups

    units = channel_groups(network, x).units_of({"q.weight": [5], "up.weight": [0, 3, 19]})
    small = compact(network, unit_masks(network, units), x)
    small.save(tmp_path / "small")
    with torch.no_grad():
        torch.save({"x": x, "y": small.model.eval()(x)}, tmp_path / "case.pt")
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    done = subprocess.run(
        [sys.executable, "elsewhere.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    off, parameters = done.stdout.split()
    assert float(off) <= 1e-6
    assert int(parameters) == small.parameters[1] < small.parameters[0]
    assert small.plan.attributes == {"": {"heads": 2}}


@pytest.mark.parametrize(("name", "again"), [("mobilenet", MobileNet), ("vit", ViT)])
def test_the_files_and_a_new_instance_make_the_same_network(name: str, again: Any, tmp_path: Path) -> None:
    network, inputs = made(name)
    small = compact(network, unit_masks(network, some_units(groups_of(name), 11)), inputs)
    small.save(tmp_path / "out")
    assert Plan.read(tmp_path / "out" / "plan.json") == small.plan
    other = rebuild(again(), tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(other(inputs), small.model.eval()(inputs))
    assert list(other.state_dict()) == list(small.model.state_dict())


def test_removed_modules_are_rebuilt(tmp_path: Path) -> None:
    network, inputs = made("vit")
    masks = unit_masks(network, [])
    for name in masks:
        if name.startswith(("blocks.0.attention", "blocks.1")):
            masks[name].fill_(False)
    small = compact(network, masks, inputs)
    small.save(tmp_path)
    assert (small.plan.removed, small.plan.zeroed) == (("blocks.1",), ("blocks.0.attention",))
    with torch.no_grad():
        assert torch.equal(rebuild(ViT(), tmp_path)(inputs), small.model.eval()(inputs))


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    network, inputs = made("vit")
    plan = compact(network, unit_masks(network, some_units(groups_of("vit"), 2)), inputs).plan
    with pytest.raises(HowsparseError, match=r"made for another network than this MobileNet: it has no blocks"):
        plan.apply_(MobileNet())
    with pytest.raises(HowsparseError, match=r"this ViT: its tensors have other names, shapes or types. Build"):
        plan.apply_(ViT(width=48))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "else"}, "plan.json is not a plan file"),
        ({"version": 99}, "has version 99; this code reads version 1"),
        ({"keep": []}, "damaged: 'keep' must be a JSON object"),
    ],
)
def test_damaged_plans_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    Plan(fingerprint(nn.Linear(1, 1)), {}).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(HowsparseError, match=message):
        Plan.read(path)
    with pytest.raises(HowsparseError, match="cannot read the plan"):
        Plan.read(tmp_path / "none.json")


def test_the_script_needs_torch_and_safetensors_only() -> None:
    import ast

    from howsparse.structured.plan import script

    nodes = list(ast.walk(ast.parse(script())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    imported = {name.split(".")[0] for name in names}
    assert imported - set(sys.stdlib_module_names) == {"torch", "safetensors"}

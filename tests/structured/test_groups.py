"""Which channels go together, against what can be read off the architectures, and against torch-pruning."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.structured import channel_groups
from howsparse.structured.labels import Labels
from tests.structured.networks import groups_of, made

PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=12)


@given(PAIRS, st.lists(st.integers(0, 11), max_size=3))
def test_labels_are_the_classes_of_a_brute_force_closure(pairs: list[tuple[int, int]], fixed: list[int]) -> None:
    labels = Labels()
    names = labels.fresh(12)
    for i in fixed:
        labels.fix(names[i : i + 1], f"reason {i}")
    if pairs:
        a, b = (np.array(side) for side in zip(*pairs, strict=True))
        labels.join(names[a], names[b], "pair")
    reach = np.eye(12, dtype=bool)
    for a_, b_ in pairs:
        reach[a_, b_] = reach[b_, a_] = True
    for _ in range(4):
        reach = reach @ reach
    roots = labels.roots(names)
    assert ((roots[:, None] == roots[None]) == reach).all()
    assert (labels.free(names) == ~reach[:, fixed].any(axis=1)).all()


def _where(name: str, row: tuple[str, int]) -> dict[tuple[str, int], tuple[int, ...]]:
    unit = groups_of(name).units_of({row[0]: [row[1]]})[0]
    return {(part.name, part.dim): part.indices for part in unit.parts}


def test_channels_of_an_option_a_resnet_move_with_the_padding() -> None:
    found = _where("resnet20", ("conv1.weight", 10))
    assert found["bn1.weight", 0] == (10,)
    assert found["layer1.2.conv2.weight", 0] == (10,)
    assert found["layer2.0.conv1.weight", 1] == (10,)
    assert found["layer2.0.conv2.weight", 0] == (18,)  # eight zero channels stand in front
    assert found["layer2.2.bn2.running_var", 0] == (18,)
    assert found["layer3.2.conv2.weight", 0] == (34,)
    assert found["linear.weight", 1] == (34,)


def test_padded_channels_go_in_pairs_when_one_number_serves_both_sides() -> None:
    assert _where("resnet20", ("layer2.0.conv2.weight", 3))["layer2.0.conv2.weight", 0] == (3, 27)


def test_heads_and_mlp_of_a_vit() -> None:
    found = _where("vit", ("blocks.1.attention.qkv.weight", 9))
    assert found["blocks.1.attention.qkv.weight", 0] == (*range(8, 16), *range(32, 40), *range(56, 64))
    assert found["blocks.1.attention.qkv.bias", 0] == found["blocks.1.attention.qkv.weight", 0]
    assert found["blocks.1.attention.proj.weight", 1] == tuple(range(8, 16))
    assert len(_where("vit", ("blocks.0.mlp.0.weight", 5))) == 3


def test_a_key_and_value_head_goes_with_the_query_heads_that_it_serves() -> None:
    found = _where("llama", ("layers.0.attention.wk.weight", 8))
    assert found["layers.0.attention.wk.weight", 0] == found["layers.0.attention.wv.weight", 0] == tuple(range(8, 16))
    assert found["layers.0.attention.wq.weight", 0] == tuple(range(16, 32))
    assert found["layers.0.attention.wo.weight", 1] == tuple(range(16, 32))


def test_concatenation_grouped_convolution_and_flattening() -> None:
    found = _where("mixed", ("b.weight", 1))  # channel 7 of the concatenation: the fourth group of two
    assert ("a.weight", 0) not in found
    assert found["b.weight", 0] == (0, 1)
    assert found["grouped.weight", 0] == found["norm.weight", 0] == found["up.weight", 0] == (9, 10, 11)
    assert _where("mixed", ("grouped.weight", 9)) == found
    wide = _where("mixed", ("wide.weight", 2))
    assert wide == {("wide.weight", 0): (2, 8), ("wide.bias", 0): (2, 8), ("out.weight", 1): (2,)}


def test_transposed_convolutions_have_their_outputs_in_the_second_dimension() -> None:
    unit = groups_of("mixed").units_of({"up.weight": [3]})[0]
    assert {(p.name, p.dim, p.role) for p in unit.parts} == {
        ("up.weight", 1, "out"),
        ("up.bias", 0, "follows"),
        ("wide.weight", 1, "in"),
    }


def test_every_row_is_in_one_unit_or_has_a_reason_to_stay() -> None:
    for name in ("resnet20", "mobilenet", "vit", "llama", "mixed"):
        groups = groups_of(name)
        rows = [(p.name, p.dim, i) for u in groups.units for p in u.parts for i in p.indices]
        assert len(rows) == len(set(rows))
        reasons = dict(groups.fixed)
        for dim, roots in groups.roots.items():
            if dim in groups.tracer.found.roles:
                covered = {i for tensor, d, i in rows if (tensor, d) == dim}
                assert len(covered) == len(roots) or dim in reasons, dim


def test_what_layer_norm_runs_over_stays_and_the_error_says_so() -> None:
    with pytest.raises(HowsparseError, match=r"channel 3 of patches.weight cannot be removed.*norm1"):
        groups_of("vit").units_of({"patches.weight": [3]})


def test_unknown_names_and_channels_are_refused() -> None:
    with pytest.raises(HowsparseError, match=r"no tensor 'conv1'; did you mean conv1\.weight\?|no tensor 'conv1'"):
        groups_of("resnet20").units_of({"conv1": [0]})
    with pytest.raises(HowsparseError, match=r"channels 0 to 15; there is no \[16\]"):
        groups_of("resnet20").units_of({"conv1.weight": [16]})


class _Odd(nn.Module):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.a, self.b, self.what = nn.Linear(4, 6), nn.Linear(6, 2), what

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.what(self.a(x)))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda x: x.sort(dim=1).values, "no rule for the operation sort in _Odd"),
        (lambda x: x.softmax(dim=1), "_softmax over it in _Odd"),
        (lambda x: x - x.mean(dim=1, keepdim=True), "mean over it in _Odd"),
        (lambda x: (x @ x.t()) @ x, "a sum over products of activations in _Odd"),
        (lambda x: torch.cat([x[:, 3:], x[:, :3]], dim=1), "a slice by numbers in _Odd"),
        (lambda x: x * torch.arange(6.0), "cannot be removed in _Odd"),
    ],
)
def test_what_depends_on_all_channels_keeps_them_with_the_operation_named(what: Any, reason: str) -> None:
    groups = channel_groups(_Odd(what), torch.randn(3, 4))
    assert not groups.units
    assert reason in groups.fixed["a.weight", 0]


def test_a_tied_weight_used_at_two_widths_stays() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(nn.functional.linear(x, self.a.weight[:3])) + self.a(x)[:, :2]

    groups = channel_groups(Tied(), torch.randn(2, 4))
    with pytest.raises(HowsparseError, match="channel 0 of a.weight cannot be removed: a slice by numbers"):
        groups.units_of({"a.weight": [0]})


def test_a_module_used_twice_joins_both_places() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.b(torch.relu(self.a(x)))))

    unit = channel_groups(Twice(), torch.randn(2, 4)).units_of({"a.weight": [1]})[0]
    assert {(p.name, p.dim): p.indices for p in unit.parts}["b.weight", 0] == (1,)


def test_inputs_that_do_not_fit_and_missing_ones() -> None:
    with pytest.raises(HowsparseError, match="example_inputs are missing"):
        channel_groups(nn.Linear(2, 2))
    with pytest.raises(HowsparseError, match=r"Sequential cannot be traced: it fails on the example inputs in 1 with"):
        channel_groups(nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)), torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "mobilenet"])
def test_torch_pruning_finds_the_same_groups_where_nothing_is_padded_or_reshaped(name: str) -> None:
    tp = pytest.importorskip("torch_pruning", reason="torch-pruning, an independent finder of groups, is not installed")
    network, inputs = made(name)
    graph = tp.DependencyGraph().build_dependency(network.eval(), example_inputs=inputs)
    names = {module: prefix for prefix, module in network.named_modules()}
    for group in groups_of(name):
        unit = group.units[len(group.units) // 2]
        row = next(part for part in unit.rows() if network.get_submodule(part.name.removesuffix(".weight")).groups == 1)
        layer = network.get_submodule(row.name.removesuffix(".weight"))
        theirs = set()
        for dependency, indices in graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=list(row.indices)):
            module = dependency.target.module
            if module in names and isinstance(module, nn.Conv2d | nn.Linear):
                depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
                dim = 0 if depthwise or "out" in dependency.handler.__name__ else 1
                theirs |= {(f"{names[module]}.weight", dim, i) for i in indices}
        ours = {(p.name, p.dim, i) for p in (*unit.rows(), *unit.columns()) for i in p.indices}
        assert theirs == ours

"""SynFlow: against the reference vectors, conservation of flow, and a network left as it was."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from howsparse import Masks
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters
from howsparse.scores import synaptic_flow, synaptic_flow_masks
from tests.scores.vectors import Case, cases, each, fingerprint, flat, perceptron


@each("synflow", "scores")
def test_vectors(case: Case) -> None:
    model, expected, close = perceptron(case["inputs"]["layers"]), case["expected"], case["tol"]["abs"]
    scores = synaptic_flow(model, prunable_parameters(model), torch.zeros(1, model[0].in_features))
    for found, wanted in zip(flat(scores), expected["scores"], strict=True):
        assert found == pytest.approx(wanted, abs=close)
        assert sum(found) == pytest.approx(expected["R"], abs=close)
    pairs = list(pairwise(scores.values()))
    for (before, after), into, out in zip(pairs, expected["unit_in"], expected["unit_out"], strict=True):
        assert before.sum(dim=1).tolist() == pytest.approx(into, abs=close)
        assert after.sum(dim=0).tolist() == pytest.approx(out, abs=close)


@each("synflow", "iterative_mask")
def test_vectors_of_masks(case: Case) -> None:
    model, inputs, expected = perceptron(case["inputs"]["layers"]), case["inputs"], case["expected"]
    parameters = prunable_parameters(model)
    total, rounds = sum(p.numel() for p in parameters.values()), inputs["rounds"]
    removed = [int((1 - inputs["keep"] ** ((j + 1) / rounds)) * total) for j in range(rounds)]
    assert [total - count for count in removed[:10]] == expected["kept_first10"]
    masks = synaptic_flow_masks(model, parameters, torch.zeros(1, 6), removed)
    assert masks.active == expected["kept_final"]
    assert [int(mask.sum()) for mask in masks.values()] == expected["keep_per_layer"]
    assert [mask.reshape(-1).int().tolist() for mask in masks.values()] == expected["masks"]


def test_the_vectors_are_all_here(shared) -> None:
    assert [len(cases("synflow", kind)) for kind in ("scores", "iterative_mask")] == [2, 2]


class Branched(nn.Module):
    """Convolutions with batch norm, a residual branch and pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.head = nn.Linear(width, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.body(x))
        return self.head(nn.functional.max_pool2d(x, 2).mean(dim=(2, 3)))


@settings(max_examples=20, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=3, max_size=5),
    activation=st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ReLU6, nn.Identity]),
    seed=st.integers(0, 1000),
    density=st.floats(0.6, 1),
)
def test_flow_is_conserved(widths: list[int], activation: type[nn.Module], seed: int, density: float) -> None:
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    model = nn.Sequential(*[module for layer in layers for module in (layer, activation())])
    parameters = prunable_parameters(model)
    masks = Masks({name: torch.rand(p.shape) < density for name, p in parameters.items()})
    for mask in masks.values():
        mask[0, 0] = True  # a path
    scores = synaptic_flow(model, parameters, torch.randn(5, widths[0]), masks=masks)
    flow = torch.ones(widths[0], dtype=torch.float64)
    for name, p in parameters.items():
        flow = (p.detach().double().abs() * masks[name]) @ flow
    assert [float(score.sum()) for score in scores.values()] == pytest.approx([float(flow.sum())] * len(layers))
    for before, after in pairwise(scores.values()):
        assert torch.allclose(before.sum(dim=1), after.sum(dim=0))
    assert all(not bool(score[~masks[name]].any()) for name, score in scores.items())


def test_flow_is_conserved_through_convolutions_norms_and_pooling() -> None:
    torch.manual_seed(0)
    model = Branched(4)
    scores = synaptic_flow(model, prunable_parameters(model), torch.randn(3, 2, 8, 8))
    stem, head = scores["stem.weight"].sum(), scores["head.weight"].sum()
    assert float(stem) == pytest.approx(float(head))
    assert float(scores["body.weight"].sum()) < float(head)  # the rest goes round it


@pytest.mark.parametrize(
    "activation",
    [nn.GELU(), nn.SiLU(), nn.SiLU(inplace=True), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(),
     nn.ReLU6(inplace=True), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Tanhshrink(), nn.Softplus(), nn.Softsign(),
     nn.Softshrink(), nn.Hardshrink(), nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Softmin(dim=1)],
    ids=lambda module: f"{type(module).__name__}{'_' * getattr(module, 'inplace', False)}",
)  # fmt: skip
def test_saturating_activations_pass_their_input_on(activation: nn.Module) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 5), nn.Linear(5, 2)
    found = [
        list(synaptic_flow(model, prunable_parameters(model), torch.zeros(2, 3)).values())
        for model in (nn.Sequential(first, module, second) for module in (activation, nn.Identity()))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    probe = torch.randn(4, 5)
    assert not torch.equal(activation(probe.clone()), probe)  # and only while scoring


def busy_network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    model(torch.randn(8, 3)).sum().backward()
    model[0].weight.data[0] = torch.tensor([0.0, -0.0, -1.5])
    model[4].weight.requires_grad_(requires_grad=False)
    model[1].eval()
    return model


def test_the_network_is_left_as_it_was() -> None:
    model = busy_network()
    before = fingerprint(model)
    scores = synaptic_flow(model, prunable_parameters(model), torch.zeros(1, 3))
    assert fingerprint(model) == before
    assert scores["0.weight"][0, :2].tolist() == [0, 0]
    assert all(score.dtype == torch.float64 and not score.requires_grad for score in scores.values())


def test_an_error_in_the_network_leaves_it_as_it_was() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken")

    model = nn.Sequential(busy_network(), Broken())
    before = fingerprint(model)
    with pytest.raises(RuntimeError, match="broken"):
        synaptic_flow(model, prunable_parameters(model), torch.zeros(1, 3))
    assert fingerprint(model) == before


def test_many_rounds_leave_a_path_where_one_does_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in pairwise([40, 40, 2, 40, 40])])
    parameters = prunable_parameters(model)
    total = sum(p.numel() for p in parameters.values())
    once = synaptic_flow_masks(model, parameters, torch.zeros(1, 40), [total - 12])
    rounds = [int((1 - (12 / total) ** (j / 100)) * total) for j in range(1, 100)] + [total - 12]
    often = synaptic_flow_masks(model, parameters, torch.zeros(1, 40), rounds)
    assert once.active == often.active == 12
    assert min(int(mask.sum()) for mask in once.values()) == 0
    assert min(int(mask.sum()) for mask in often.values()) > 0


def test_rounds_go_on_from_masks_that_are_given() -> None:
    model = busy_network()
    parameters = prunable_parameters(model)
    start = Masks({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})
    start["4.weight"][0] = False
    masks = synaptic_flow_masks(model, parameters, torch.zeros(1, 3), [4, 6, 9], masks=start)
    assert masks <= start
    assert masks.active == 20 - 9
    for wrong in ([3], [6, 5], [20]):
        with pytest.raises(HowsparseError, match="removed = "):
            synaptic_flow_masks(model, parameters, torch.zeros(1, 3), wrong, masks=start)


def test_deep_networks_need_the_wider_type() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(40)])
    for layer in model:
        layer.weight.data.normal_()
    parameters = prunable_parameters(model)
    with pytest.raises(HowsparseError, match="use dtype=torch.float64"):
        synaptic_flow(model, parameters, torch.zeros(1, 64), dtype=torch.float32)
    sums = [float(score.sum()) for score in synaptic_flow(model, parameters, torch.zeros(1, 64)).values()]
    assert sums == pytest.approx([sums[0]] * 40, rel=1e-9)


def test_what_cannot_work_is_refused() -> None:
    model = busy_network()
    parameters, example = prunable_parameters(model), torch.zeros(1, 3)
    bare = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    emptied = Masks({"0.weight": torch.zeros(4, 3), "2.weight": torch.ones(2, 4)})
    with pytest.raises(HowsparseError, match="network is dead"):
        synaptic_flow(bare, prunable_parameters(bare), example, masks=emptied)
    with pytest.raises(HowsparseError, match="model's own under their names.*: 2.weight"):
        synaptic_flow(model, {"0.weight": model[0].weight, "2.weight": bare[2].weight}, example)
    with pytest.raises(HowsparseError, match="int64"):
        synaptic_flow(model, parameters, torch.zeros(1, 3, dtype=torch.int64))
    recurrent = nn.LSTM(3, 2)
    with pytest.raises(HowsparseError, match="must be one tensor; it is a tuple"):
        synaptic_flow(recurrent, prunable_parameters(recurrent), torch.zeros(1, 3))
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(HowsparseError, match="NaN"):
        synaptic_flow(model, parameters, example)

"""Losses, gradients and spectra of small networks against reference values of dense linear algebra."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from howsparse.curvature import GaussNewton, Hessian, Objective

NAMES = ("mlp-tanh-init", "mlp-tanh-trained", "mlp-relu-l1-trained", "conv-bn-init")


@cache
def _cases(path: Path) -> dict[str, Any]:
    return {case["id"]: case for case in json.loads(path.read_text())["cases"]}


def _layer(about: dict[str, Any], activation: str) -> nn.Module:
    if about["t"] == "linear":
        return nn.Linear(about["i"], about["o"])
    if about["t"] == "conv":
        return nn.Conv2d(about["i"], about["o"], about["k"])
    if about["t"] == "bn":
        norm = nn.BatchNorm2d(about["c"]).double()
        norm.running_mean.copy_(torch.tensor(about["mean"], dtype=torch.float64))
        norm.running_var.copy_(torch.tensor(about["var"], dtype=torch.float64))
        return norm
    return {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]()


class Net(nn.Sequential):
    """Layers in a row; linear ones flatten their input."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
        return x


@pytest.fixture(params=NAMES)
def case(request, shared) -> tuple[Net, list[tuple[Tensor, Tensor]], dict[str, Any]]:
    found = _cases(shared / "data/reference/limit_vectors.json")[request.param]
    net = Net(*(_layer(about, found["activation"]) for about in found["layers"])).double()
    parameters = dict(net.named_parameters())
    for about in found["parameters"]:
        values = torch.tensor(about["values"], dtype=torch.float64)
        parameters[about["name"]].data.copy_(values.view(about["shape"]))
    inputs = torch.tensor(found["inputs"], dtype=torch.float64).view(found["inputs_shape"])
    size = found["batch_size"]
    batches = list(zip(inputs.split(size), torch.tensor(found["labels"]).split(size), strict=True))
    return net, batches, found


def _eigenvalues(operator) -> Tensor:
    return torch.linalg.eigvalsh(operator @ torch.eye(operator.size, dtype=torch.float64))


def _close(found: Tensor, expected: list[float], *, rtol: float = 0.0, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol)


def test_losses_and_gradient(case) -> None:
    net, batches, about = case
    expected = about["expected"]
    everything = Objective(net, batches, parameters=dict(net.named_parameters()))
    assert everything.size == about["D_all"]
    loss, gradient = everything.gradient()
    assert loss == pytest.approx(expected["loss"], rel=1e-12)
    assert everything.loss() == pytest.approx(expected["loss"], rel=1e-12)
    assert float(gradient.norm()) == pytest.approx(expected["grad_norm"], rel=1e-9)
    means = torch.stack([part.mean() for part in everything.sample_losses().split(about["batch_size"])])
    _close(means, expected["batch_losses"], rtol=1e-12)
    with_l1 = loss + about["l1_lambda"] * float(everything.weights().abs().sum())
    assert with_l1 == pytest.approx(expected["loss_with_l1"], rel=1e-12)


def test_spectra_on_the_prunable_weights(case) -> None:
    net, batches, about = case
    expected, objective = about["expected"], Objective(net, batches)
    assert objective.size == about["N_prunable"]
    matrix = Hessian(objective) @ torch.eye(objective.size, dtype=torch.float64)
    _close(torch.linalg.eigvalsh(matrix), sorted(expected["eigenvalues_prunable"]))
    assert float(matrix.trace()) == pytest.approx(expected["trace_prunable"], rel=1e-9)
    assert float(matrix.square().sum()) == pytest.approx(expected["frobenius_sq_prunable"], rel=1e-9)
    _close(matrix.abs().sum(dim=1), expected["row_l1_prunable"], rtol=1e-9)
    _close(matrix.norm(dim=1), expected["row_l2_prunable"], rtol=1e-9)
    assert int((matrix.abs().sum(dim=1) == 0).sum()) == expected["n_zero_rows"]
    _close(_eigenvalues(GaussNewton(objective)), sorted(expected["ggn_eigenvalues_prunable"]))


def test_spectra_on_more_parameters(case) -> None:
    net, batches, about = case
    expected = about["expected"]
    norms = [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    parameters = dict(net.named_parameters())
    without = {name: p for name, p in parameters.items() if name.rpartition(".")[0] not in norms}
    objective = Objective(net, batches, parameters=without)
    assert objective.size == about["D_no_bn"]
    _close(_eigenvalues(Hessian(objective)), sorted(expected["eigenvalues_no_bn"]))
    values = _eigenvalues(Hessian(Objective(net, batches, parameters=parameters)))
    assert float(values.sum()) == pytest.approx(expected["trace_all"], rel=1e-9)
    _close(values[[0, -1]], expected["eigenvalues_all_minmax"])

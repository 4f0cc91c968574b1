"""GReg: penalties, phases and removed sets, iteration by iteration."""

import json
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import howsparse as hs
from howsparse.allocation import share_of
from howsparse.methods.greg import Course, GReg, GReg1, GReg2
from howsparse.methods.greg_pruner import GRegPruner


@pytest.fixture(scope="module")
def vectors(shared):
    cases = json.loads((shared / "data/reference/methods_vectors.json").read_text())["cases"]
    return {case["id"]: case for case in cases if case["id"].startswith("greg/")}


NETWORKS = {
    "weight": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3, bias=False)
    ),
    "filter": lambda: nn.Sequential(
        *(nn.Conv2d(2, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False)),
        *(nn.Flatten(), nn.Linear(4, 3, bias=False)),
    ),
}


def with_table(cls: type[GReg], given: Mapping) -> GReg:
    """The method with a share for every layer; in filter mode all weights of a filter score its mean."""
    filters = given["mode"] == "filter"
    ratios = given["prune_ratio"]

    class Table(cls):
        def counts(self, pruner) -> dict[str, Tensor]:
            found = {}
            for (name, weight), ratio in zip(pruner.weights.items(), ratios, strict=True):
                unit = weight[0].numel() if filters else 1
                found[name] = torch.tensor(share_of(weight.numel() // unit, ratio) * unit if ratio else 0)
            return found

        def scores(self, weights) -> dict[str, Tensor]:
            if not filters:
                return super().scores(weights)
            means = {n: w.abs().flatten(1).mean(dim=1) for n, w in weights.items()}
            return {n: means[n].view(-1, *[1] * (w.dim() - 1)).expand_as(w).contiguous() for n, w in weights.items()}

    settings = {"ceiling": given["ceiling"], "delta": given["delta"], "every": given["update_interval"]}
    if cls is GReg2:
        settings |= {"pick_ceiling": given["pick_ceiling"], "pick_delta": given["pick_delta"]}
        settings |= {"recover": given["recover"]}
    return Table(hold=given["stabilise_interval"] / 60, **settings)


@pytest.mark.parametrize("nth", [0, 1, 2, 3])
def test_penalties_phases_and_removed_sets_are_the_authors(vectors, nth) -> None:
    case = vectors[f"greg/{nth}"]
    given, expected = case["inputs"], case["expected"]
    net = NETWORKS[given["mode"]]()
    layers = dict(net.named_parameters())
    for weight, values in zip(layers.values(), given["weights"], strict=True):
        weight.data.copy_(torch.tensor(values).view(weight.shape))
    sgd = given["optimizer"]
    optimizer = torch.optim.SGD(
        net.parameters(), lr=sgd["sgd_lr"], momentum=sgd["momentum"], weight_decay=sgd["weight_decay"]
    )
    method = with_table({"greg-1": GReg1, "greg-2": GReg2}[case["method"]], given)
    pruner = method.attach(net, optimizer, total_steps=60)
    x, y = torch.tensor(given["x"]).view(given["x_shape"]), torch.tensor(given["y"])
    kept = given["recover"] if case["method"] == "greg-2" else 0.0
    last, chosen_at = expected["last_iteration"], None
    for iteration in range(last + 1):
        assert pruner.masks.sparsity == 0
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        if chosen_at is None and pruner.to_go is not None:
            chosen_at = iteration
        found = [torch.as_tensor(pruner.penalty(name, kept)) for name in layers]
        for key, extreme in (("penalty_max", torch.max), ("penalty_min", torch.min)):
            row = expected[key][iteration]
            assert row["iter"] == iteration
            assert [float(extreme(p)) for p in found] == pytest.approx(row["per_layer"], abs=1e-5)
        pruner.step()
    assert pruner.steps == last + 1 == pruner.course.removal
    assert chosen_at == max(expected.get("pick_finished", {"": 0}).values())
    assert last - pruner.course.hold == expected["stabilise_start"] == max(expected["update_finished"].values())
    for name, mask in pruner.masks.items():
        gone = (~mask).flatten(1).all(dim=1) if given["mode"] == "filter" else ~mask.flatten()
        assert gone.nonzero().flatten().tolist() == expected["pruned"][name.split(".")[0]]
        assert int((~mask).sum()) == int(gone.sum()) * (mask[0].numel() if given["mode"] == "filter" else 1)
        assert bool((layers[name][~mask] == 0).all())


def test_numbers_of_removed_groups(vectors) -> None:
    case = vectors["greg/counts"]
    found = [share_of(given["n"], given["pr"]) for given in case["inputs"]]
    assert found == case["expected"]


def test_reference_mode_rounds_every_layer_up() -> None:
    for reference_mode, expected in ((True, [8, 3]), (False, [7, 3])):
        net = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2))  # 15 and 6 weights; 0.5 of all 21 are 11 or 10.5
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        method = GReg1(sparsity=0.48, reference_mode=reference_mode)
        train(net, optimizer, method.attach(net, optimizer, total_steps=10), steps=10)
        assert [int((net.get_parameter(n) == 0).sum()) for n in ("0.weight", "1.weight")] == expected


def train(net: nn.Module, optimizer, pruner, *, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.ones(2, next(net.parameters()).shape[1])).square().sum().backward()
        optimizer.step()
        pruner.step()


def test_stationary_points(vectors) -> None:
    """Loss h/2 (w - w*)^2 under a held penalty: every weight goes to h w* / (h + lambda)."""
    case = vectors["greg/quadratic"]
    for given, expected in zip(case["inputs"], case["expected"], strict=True):
        h, target, penalty = given["h"], given["w_star"], given["lam"]
        net = nn.Linear(1, 2, bias=False).double()
        net.weight.data.fill_(target)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.8 / (h + penalty))
        # one increase beyond the ceiling, then held
        method = GReg1(sparsity=0.5, delta=penalty, ceiling=penalty * 0.9, hold=0.9)
        pruner = method.attach(net, optimizer, total_steps=100)
        for _ in range(80):
            optimizer.zero_grad()
            (0.5 * h * (net.weight - target).square()).sum().backward()
            optimizer.step()
            pruner.step()
        assert float(net.weight.detach()[0]) == pytest.approx(expected, abs=1e-6)
        assert float(net.weight.detach()[1]) == pytest.approx(target, abs=1e-12)


def test_the_ramp_ends_where_the_closed_form_says() -> None:
    for ceiling, delta, every in ((0.45, 0.1, 2), (1.0, 1e-4, 5), (0.3, 0.1, 1), (1.0, 0.3, 7)):
        total = 2 * every * (round(ceiling / delta) + 3)
        course = GReg1(ceiling=ceiling, delta=delta, every=every, hold=0.0).course(total)
        first = next(n for n in range(1, 20_000) if n * delta > ceiling + 1e-9)
        assert course.growing == first
        assert course.removal - 1 == every * (first - 1)
        assert course.penalty(course.removal - 1) > ceiling
        assert course.removal == 1 or course.penalty(course.removal - 2) <= ceiling + 1e-9


@pytest.mark.parametrize(
    ("method", "total"),
    [
        *((GReg1(), total) for total in (1, 2, 5, 12, 1237)),
        *((GReg2(), total) for total in (2, 5, 12, 1237)),
        *((GReg1(every=3), 40), (GReg1(every=3), 1237), (GReg2(every=2, ramp=0.2), 100)),
    ],
)
def test_by_default_phases_are_shares_of_the_training(method, total) -> None:
    course = method.course(total)
    (removal,) = method.events(total)
    share = method.ramp + method.hold + (method.pick if isinstance(method, GReg2) else 0)
    assert removal == pytest.approx(share * total, abs=3 * method.every + 1)
    assert course.penalty(removal - 1) > method.ceiling
    before = course.every * (course.picking + course.growing - 1) - 1
    assert before < 0 or course.penalty(before) <= method.ceiling


def test_kept_weights_get_a_penalty_that_cancels_the_weight_decay() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 4, bias=False).double()
    start = net.weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.01)
    pruner = GReg2(sparsity=0.5, pick=0.1, ramp=0.5, hold=0.1).attach(net, optimizer, total_steps=100)
    for step in range(65):
        optimizer.zero_grad()
        net.weight.grad = torch.zeros_like(net.weight)
        optimizer.step()
        pruner.step()
        if step == 9:
            chosen = net.weight.detach().clone()
    kept = ~pruner.to_go["weight"]
    assert int(kept.sum()) == 8
    assert torch.allclose(net.weight[kept], chosen[kept], rtol=1e-12)
    assert not torch.allclose(start[kept], chosen[kept])
    assert bool((net.weight[~kept].abs() < 0.1 * start[~kept].abs()).all())


def test_flat_directions_are_the_ones_that_greg2_removes() -> None:
    """Equal weights at the start and at the minimum: magnitude cannot tell them apart, the penalty does."""
    torch.manual_seed(0)
    curvature = torch.rand(1, 40, dtype=torch.float64) + 0.1
    net = nn.Linear(40, 1, bias=False).double()
    net.weight.data.fill_(1.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    method = GReg2(sparsity=0.5, pick=0.5, ramp=0.1, hold=0.1, pick_ceiling=0.2)
    pruner = method.attach(net, optimizer, total_steps=400)
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * curvature * (net.weight - 1.0).square()).sum().backward()
        optimizer.step()
        pruner.step()
    assert float(curvature[~pruner.masks["weight"]].max()) < float(curvature[pruner.masks["weight"]].min())


def test_removed_weights_stay_zero_under_momentum_and_weight_decay(make_task) -> None:
    task = make_task()
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=0.01, weight_decay=0.1)
    pruner = GReg1(sparsity=0.8).attach(task.model, optimizer, total_steps=20)
    assert isinstance(pruner, GRegPruner)
    for step in range(1, 21):
        share = next(iter(task.train.shuffled(step)))
        optimizer.zero_grad()
        task.sample_losses(*task.outputs(task.model, share.batch)).mean().backward()
        optimizer.step()
        pruner.step()
        zeros = sum(int((w == 0).sum()) for w in pruner.weights.values())
        assert zeros == (math.floor(0.8 * 224 + 0.5) if step >= pruner.course.removal else 0)


def test_a_trained_network_is_where_it_starts(make_task) -> None:
    found = hs.prune(make_task(), GReg1(sparsity=0.5), hs.Recipe(epochs=2))
    assert [r["cycle"] for r in found.history if r["kind"] == "epoch"] == [0, 0, 1, 1]
    assert GReg1.needs_trained


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"delta": 1e-4}, r"after step 10,121, but the training has only 600: choose a larger delta"),
        ({"ramp": 0.9, "hold": 0.5}, r"after step 840, but the training has only 600"),
    ],
)
def test_a_course_that_does_not_fit_is_refused_at_the_start(settings, text) -> None:
    with pytest.raises(hs.HowsparseError, match=text):
        GReg1(**settings).attach(nn.Linear(4, 4), total_steps=600)


def test_a_course_is_piecewise_linear() -> None:
    course = Course(every=3, picking=2, pick_delta=0.01, growing=4, delta=0.1, hold=5)
    penalties = [course.penalty(i) for i in range(20)]
    assert penalties[:9] == pytest.approx([0.01] * 3 + [0.02] * 3 + [0.12] * 3)
    assert penalties[15:] == pytest.approx([0.42] * 5)
    assert [course.choosing(i) for i in (2, 3)] == [False, True]
    assert [course.recovering(i) for i in (5, 6)] == [False, True]
    assert course.removal == 3 * 5 + 5 + 1

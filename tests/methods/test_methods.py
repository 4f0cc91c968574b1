"""What each method promises beyond the common battery."""

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.masks import group_sizes


def run(pruner, after_training=lambda cycle: None) -> None:
    for cycle in pruner.cycles():
        after_training(cycle)


def shaken(model: nn.Module):
    """Stands in for training: moves every weight, differently each cycle."""

    def shake(cycle: int) -> None:
        torch.manual_seed(cycle)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * p.abs().mean() * (p != 0))

    return shake


def test_sap_removes_the_index_itself_with_the_default_orders() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 10))
    pruner = hs.SAP(cycles=6).attach(net)
    run(pruner, shaken(net))
    for before, after in zip(pruner.records, pruner.records[1:], strict=False):
        kept = (1 - before["pqi"]) * before["active"]
        assert after["active"] == int(-(-(kept - 1e-9 * before["active"]) // 1))


def test_lottery_counts_and_exact_target() -> None:
    net = nn.Linear(100, 100)
    pruner = hs.LotteryTicket(cycles=4, count="quantile").attach(net)
    run(pruner)
    left = [10_000]
    for _ in range(4):
        left.append(left[-1] - -(-2 * (left[-1] - 1) // 10))
    assert [r["active"] for r in pruner.records] == left
    exact = hs.LotteryTicket(sparsity=0.95).attach(nn.Linear(100, 100))
    run(exact)
    assert exact.masks.active == 500
    assert exact.method.prunings == 14


def test_ladder_ranks_by_the_dense_network() -> None:
    torch.manual_seed(0)
    net = nn.Linear(30, 30)
    pruner = hs.OneShotLadder(cycles=5, fraction=0.3).attach(net)
    dense: list[torch.Tensor] = []

    def remember(cycle: int) -> None:
        shaken(net)(cycle)
        if cycle == 0:
            dense.append(net.weight.detach().clone())

    run(pruner, remember)
    active = pruner.masks.active
    best = dense[0].abs().flatten().topk(active).indices
    assert set(pruner.masks["weight"].flatten().nonzero().squeeze(1).tolist()) == set(best.tolist())


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_one_shot_meets_the_count_in_every_scope(scope) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3), nn.Conv2d(2, 3, 3))
    pruner = hs.OneShot(sparsity=0.37, scope=scope).attach(net)
    run(pruner)
    total = 35 + 15 + 54
    assert pruner.masks.total - pruner.masks.active == round(0.37 * total)
    for group, sizes in group_sizes(pruner.masks, scope).items():
        whole = group_sizes(hs.Masks.dense(pruner.weights), scope)[group]
        assert bool(((whole - sizes).double() - 0.37 * whole).abs().max() < 1)


@pytest.mark.parametrize("rewind", ["init", 0, 3, "none"])
def test_rewinding_bit_for_bit_buffers_included(rewind) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    pruner = hs.SAP(cycles=2, rewind=rewind).attach(net, optimizer, total_steps=5)
    states = [{k: v.clone() for k, v in net.state_dict().items()}]
    for cycle in pruner.cycles():
        if cycle > 0:
            back = states[-1 if rewind == "none" else 0 if rewind == "init" else rewind]
            for name, tensor in net.state_dict().items():
                mask = pruner.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
                assert torch.equal(tensor, torch.where(mask, back[name], torch.zeros_like(tensor)))
            assert not optimizer.state
            assert pruner.first_step == (rewind if isinstance(rewind, int) else 0)
            break
        for _ in range(5):
            optimizer.zero_grad()
            net(torch.randn(16, 6)).square().mean().backward()
            optimizer.step()
            pruner.step()
            states.append({k: v.clone() for k, v in net.state_dict().items()})


def test_rewind_step_must_be_reached() -> None:
    with pytest.raises(hs.HowsparseError, match="a training has only 5 steps"):
        hs.SAP(rewind=5).attach(nn.Linear(3, 3), total_steps=5)
    pruner = hs.SAP(rewind=5).attach(nn.Linear(3, 3))
    with pytest.raises(hs.HowsparseError, match="only 0 steps were taken"):
        run(pruner)


def test_turning_point_stops_and_names_the_cycle() -> None:
    method = hs.SAP(cycles=30, stop="turning-point", patience=2)
    values = [0.31, 0.25, 0.20, 0.21, 0.24, 0.30]
    records = [{"pqi": v, "sparsity": t / 10, "metric": None} for t, v in enumerate(values)]
    verdicts = [method.verdict(records[: t + 1]) for t in range(len(values))]
    assert [v.stop for v in verdicts] == [False, False, False, False, True, True]
    assert [v.chosen for v in verdicts] == [0, 1, 2, 2, 2, 2]


def test_tolerance_stops_and_needs_a_metric() -> None:
    method = hs.LotteryTicket(cycles=30, stop="tolerance", tolerance=0.02, patience=1)
    records = [{"pqi": 0.1, "sparsity": 0.0, "metric": m, "higher_is_better": False} for m in (0.50, 0.51, 0.53)]
    assert method.verdict(records[:2]).chosen == 1
    assert method.verdict(records) == method.verdict(records)
    assert method.verdict(records).stop
    assert method.verdict(records).chosen == 1
    pruner = hs.LotteryTicket(stop="tolerance").attach(nn.Linear(3, 3))
    with pytest.raises(hs.HowsparseError, match="needs a metric every cycle"):
        run(pruner)


@pytest.mark.parametrize(
    ("method", "recipe", "epochs"),
    [
        (hs.LotteryTicket(cycles=2), {"epochs": 3}, (3, 3, 3)),
        (hs.OneShot(), {"epochs": 3, "dense_epochs": 0}, (0, 3)),
        (hs.LOMP(fine_tune=2), {"epochs": 3}, (3, 2)),
        (hs.RigL(), {"epochs": 3}, (0, 3)),
        (hs.RigL(), {"epochs": 3, "dense_epochs": 2}, (2, 3)),
        (hs.GReg1(), {"epochs": 3}, (3, 3)),
        (hs.RareGems(search_epochs=5), {"epochs": 3}, (0, 5, 3)),
    ],
)
def test_epochs_of_every_training(method, recipe, epochs) -> None:
    assert method.trainings(hs.Recipe(**recipe)) == epochs


def test_reference_mode_removes_one_more() -> None:
    pruner = hs.LotteryTicket(cycles=3, reference_mode=True).attach(nn.Linear(50, 20))
    run(pruner)
    assert [r["active"] for r in pruner.records] == [1000, 799, 638, 509]


def test_all_zero_layer_is_survived() -> None:
    """An index that is undefined stops nothing and prunes nothing there."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(net[1].weight)
    pruner = hs.SAP(cycles=2, scope="layer").attach(net)
    run(pruner)
    assert int(pruner.masks["1.weight"].sum()) == 16
    assert pruner.records[-1]["layers"][1]["pqi"] is None


def test_a_target_that_is_reached_ends_the_run() -> None:
    """Tiny groups round up, so the target comes early; nothing is trained for nothing."""
    pruner = hs.LotteryTicket(sparsity=0.8, scope="neuron").attach(nn.Conv2d(1, 16, 3))
    run(pruner)
    active = [record["active"] for record in pruner.records]
    assert active[-1] == 144 - 115
    assert len(set(active)) == len(active)


def test_no_layer_is_emptied_while_others_can_give() -> None:
    pruner = hs.OneShot(sparsity=0.95, scope="layer").attach(nn.Sequential(nn.Linear(40, 40), nn.Linear(4, 1)))
    run(pruner)
    assert int(pruner.masks["1.weight"].sum()) == 1
    assert pruner.masks.total - pruner.masks.active == round(0.95 * 1604)


def test_biases_of_attention_are_not_pruned() -> None:
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    assert list(hs.OneShot().attach(attention).weights) == ["in_proj_weight", "out_proj.weight"]


def test_observing_again_replaces_and_a_forgotten_step_is_noticed() -> None:
    net = nn.Linear(6, 6)
    pruner = hs.LotteryTicket(cycles=3).attach(net)
    seen = []
    for cycle in pruner.cycles():
        seen.append(cycle)
        pruner.observe(0.9)
        pruner.observe(0.8)
    assert seen == [0, 1, 2, 3]
    assert [record["metric"] for record in pruner.records] == [0.8] * 4
    pruner = hs.LotteryTicket(cycles=3).attach(net)
    with pytest.raises(hs.HowsparseError, match=r"call pruner.step\(\) after every optimizer.step\(\)"):
        run(pruner, lambda cycle: net.weight.data.add_(1))


def test_what_would_leave_nothing_is_refused() -> None:
    for method in (hs.OneShot(sparsity=0.999), hs.LotteryTicket(sparsity=0.999)):
        with pytest.raises(hs.HowsparseError, match=r"sparsity 0.999 of 36 weights leaves none; 0.972222 leaves one"):
            method.attach(nn.Linear(6, 6))

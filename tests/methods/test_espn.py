"""ESPN: multipliers under an L1 penalty, the cut, and what is trained after it."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import howsparse as hs
from howsparse.methods.espn import ESPN, ESPNPruner
from howsparse.training import Callback


def begin(net: nn.Module, *, lr: float = 0.1, **settings) -> tuple[torch.optim.Optimizer, ESPNPruner]:
    """In the first step of the search."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-3)
    pruner = ESPN(**settings).attach(net, optimizer)
    pruner.observe()
    pruner.prune()
    pruner.treat()
    return optimizer, pruner


@pytest.mark.parametrize("variant", ["finetune", "rewind"])
def test_joint_training_cut_and_folding(shared, variant) -> None:
    cases = json.loads((shared / "data/reference/methods_vectors.json").read_text())["cases"]
    case = next(case for case in cases if case["id"] == "espn/mask_training")
    given, expected = case["inputs"], case["expected"]
    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    names, shapes = ["0.weight", "2.weight"], given["shapes"]
    for name, values, shape in zip(names, given["weights"], shapes, strict=True):
        net.get_parameter(name).data.copy_(torch.tensor(values).view(shape))
    settings = {"alpha": given["alpha"], "sparsity": 1 - given["keep"], "variant": variant}
    optimizer, pruner = begin(net, lr=given["lr"], **settings)
    x, y, losses = torch.tensor(given["x"]), torch.tensor(given["y"]), []
    for _ in range(given["steps"]):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        size = sum(float(m.abs().sum()) for m in pruner.hidden["multipliers"].values())
        losses.append(float(loss.detach()) + given["alpha"] * size)
        loss.backward()
        optimizer.step()
        pruner.step()
    assert losses == pytest.approx(expected["loss_per_step"], abs=2e-4)
    for index, name in enumerate(names):
        for tensor, key in ((pruner.hidden["multipliers"][name], "masks"), (pruner.latent[name], "weights")):
            assert torch.allclose(tensor.flatten(), torch.tensor(expected[key][index]), rtol=0, atol=2e-4)
    pruner.observe()
    masks = pruner.prune()
    pruner.treat()
    assert masks.active == expected["keep_count"]
    assert [masks[name].flatten().int().tolist() for name in names] == expected["keep_masks"]
    for index, name in enumerate(names):
        start = torch.tensor(given["weights"][index]) * masks[name].flatten()
        folded = torch.tensor(expected["folded_weights"][index])
        found = net.get_parameter(name).detach().flatten()
        assert torch.allclose(found, folded if variant == "finetune" else start, rtol=0, atol=2e-4)


class Still(ESPNPruner):
    """Its multipliers rest."""

    def move_beside(self, name, gradient, rate) -> None:
        pass


def test_without_penalty_and_with_multipliers_at_one_it_is_plain_training() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    net, plain = network(), network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-3)
    mirror = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    pruner = Still(ESPN(alpha=0.0), net, optimizer)
    pruner.observe()
    pruner.prune()
    pruner.treat()
    x = torch.randn(32, 6)
    for _ in range(10):
        for model, mover in ((net, optimizer), (plain, mirror)):
            mover.zero_grad()
            F.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            mover.step()
        pruner.step()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), plain.state_dict().values(), strict=True))


def test_a_kept_entry_comes_to_rest_where_the_gradient_balances_the_penalty() -> None:
    """Loss (w m - c)^2 / 2 with w held: at rest w dL/d(w m) = -alpha sign(m)."""
    net = nn.Linear(1, 1, bias=False).double()
    net.weight.data.fill_(2.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    pruner = ESPN(alpha=0.1, sparsity=0.0).attach(net, optimizer)
    pruner.observe()
    pruner.prune()
    pruner.treat()
    frozen = torch.full((1, 1), 2.0, dtype=torch.float64)
    for _ in range(2000):
        optimizer.zero_grad()
        (0.5 * (net(torch.ones(1, 1, dtype=torch.float64)) - 3.0).square()).sum().backward()
        gradient = net.weight.grad.clone()
        optimizer.step()
        pruner.step()
        pruner.latent["weight"].copy_(frozen)  # the weight rests; the multiplier finds its place
        pruner.show()
    multiplier = pruner.hidden["multipliers"]["weight"]
    assert torch.allclose(frozen * gradient, -0.1 * multiplier.sign(), atol=1e-9)
    assert float(multiplier) == pytest.approx((3.0 - 0.1 / 2) / 2)


def test_a_strong_penalty_makes_multipliers_vanish_and_says_so(make_task) -> None:
    recipe = hs.Recipe(epochs=4, lr=0.1)
    strong = hs.prune(make_task(), ESPN(sparsity=0.6, alpha=0.1), recipe)
    weak = hs.prune(make_task(), ESPN(sparsity=0.6, alpha=1e-6), recipe)
    reached = [[r.get("reached") for r in found.history if r["kind"] == "cycle"] for found in (strong, weak)]
    assert reached[0][1] > 0.3
    assert reached[1] == [None, pytest.approx(0.0, abs=0.05), None]
    for found in (strong, weak):  # cut in any case, to the weight
        assert found.masks.total - found.masks.active == int(0.6 * found.masks.total + 0.5)


def test_enough_counts_negative_multipliers_as_vanished_but_the_cut_does_not() -> None:
    net = nn.Linear(4, 1, bias=False)
    _, pruner = begin(net, sparsity=0.5)
    assert not pruner.enough
    pruner.hidden["multipliers"]["weight"].copy_(torch.tensor([[-0.9, 0.01, 0.5, 0.02]]))
    assert pruner.enough
    pruner.show()
    assert pruner.observe()["reached"] == 0.5
    assert pruner.prune()["weight"].tolist() == [[True, False, True, False]]
    assert not pruner.enough


def test_multipliers_follow_the_optimizers_learning_rate() -> None:
    net = nn.Linear(3, 1, bias=False)
    optimizer, pruner = begin(net, sparsity=0.3, alpha=1.0)
    for rate, expected in ((0.1, 1 - 0.1), (0.01, 1 - 0.1 - 0.01 * 1.9)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        net(torch.zeros(1, 3)).sum().backward()
        optimizer.step()
        pruner.step()
        assert torch.allclose(pruner.hidden["multipliers"]["weight"], torch.full((1, 3), expected))


def test_multipliers_may_have_a_rate_of_their_own() -> None:
    """With Adam at 1e-3, at which they would hardly move."""
    far = {}
    for own in (None, 0.1):
        torch.manual_seed(0)
        net = nn.Linear(3, 1, bias=False)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        pruner = ESPN(sparsity=0.3, alpha=1.0, multiplier_lr=own).attach(net, optimizer)
        pruner.observe()
        pruner.prune()
        pruner.treat()
        net(torch.zeros(1, 3)).sum().backward()
        optimizer.step()
        pruner.step()
        far[own] = 1 - float(pruner.hidden["multipliers"]["weight"][0, 0])
    assert far == {None: pytest.approx(1e-3, rel=1e-3), 0.1: pytest.approx(0.1)}


def test_rewinding_goes_back_to_the_early_weights_buffers_included(make_task) -> None:
    class Look(Callback):
        def __init__(self, model: nn.Module) -> None:
            self.model, self.seen = model, {}

        def on_cycle(self, record) -> None:
            state = {n: t.clone() for n, t in self.model.state_dict().items()}
            self.seen[record["cycle"]] = state  # after the cut

    task = make_task()
    look = Look(task.model)
    found = hs.prune(task, ESPN(sparsity=0.5, variant="rewind", early_epochs=2), hs.Recipe(epochs=3), callbacks=[look])
    early, cut = look.seen[0], look.seen[1]
    for name, tensor in early.items():
        kept = found.masks[name] if name in found.masks else torch.tensor(True)
        assert torch.equal(cut[name], tensor * kept)
    epochs = [sum(r["kind"] == "epoch" and r["cycle"] == c for r in found.history) for c in range(3)]
    assert epochs == [2, 3, 3]


def test_epochs_of_each_phase() -> None:
    recipe = hs.Recipe(epochs=5, l1=1e-3)
    folded, rewound = ESPN(search_epochs=2), ESPN(variant="rewind")
    assert [folded.recipe_in(recipe, c).epochs_of(c) for c in range(3)] == [5, 2, 5]
    assert [rewound.recipe_in(recipe, c).epochs_of(c) for c in range(3)] == [1, 5, 5]
    search = folded.recipe_in(recipe, 1)
    assert (search.keep, search.schedule, search.l1) == ("last", "constant", 0.0)
    assert (folded.needs_trained, rewound.needs_trained) == (True, False)
    assert folded.training_steps(recipe, 10) == 20


def test_the_search_ends_once_enough_multipliers_have_vanished(make_task) -> None:
    found = hs.prune(make_task(), ESPN(sparsity=0.5, alpha=1.0, search_epochs=20), hs.Recipe(epochs=1, lr=0.1))
    searched = [record["epoch"] for record in found.history if record["kind"] == "epoch" and record["cycle"] == 1]
    assert searched == list(range(len(searched)))
    assert 0 < len(searched) < 20
    assert found.history[-1]["cycle"] == 2
    assert found.achieved == pytest.approx(0.5, abs=0.002)

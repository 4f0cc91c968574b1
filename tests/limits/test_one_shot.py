"""The one-shot limit against brute force over every count."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from howsparse.limits.dense import DenseNetwork
from howsparse.limits.one_shot import crossing, one_shot_limit, same_rise
from howsparse.limits.yardstick import Increase, Yardstick
from tests.limits.small_limit import make

QUICK = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def network():
    """A small trained network without batch norm, and its loss increase without its m smallest weights, every m."""
    torch.set_num_threads(1)
    task = make(width=6, batch_norm=False)
    dense = DenseNetwork(task.model)
    everything = Yardstick(task, dense.parameters)
    return task, dense, everything, [at(everything, dense, m) for m in range(dense.total + 1)]


def at(yardstick: Yardstick, dense: DenseNetwork, removed: int) -> Increase:
    with dense.without(dense.masks(removed)):
        return yardstick.increase()


def test_the_increase_is_that_of_the_mean_loss_without_the_smallest_weights(network) -> None:
    task, dense, everything, curve = network
    flat = torch.cat([w.flatten() for w in dense.weights.values()])
    for removed in (0, 1, 50, dense.total):
        edge = flat.abs().sort().values[removed - 1] if removed else -1.0
        state = task.model.state_dict()
        pruned = {n: torch.where(state[n].abs() > edge, state[n], 0.0) for n in dense.parameters}
        with torch.no_grad():
            x, y = task.calib.dataset[list(task.calib._indices)]
            output = torch.func.functional_call(task.model, pruned, (x,))
            loss = torch.nn.functional.cross_entropy(output.double(), y)
        assert everything.dense + curve[removed].mean == pytest.approx(float(loss), rel=1e-6)
        assert curve[removed].error == 0  # all samples were compared


@pytest.mark.parametrize("eps", [0.002, 0.005, 0.01, 0.03, 0.1, 0.4, 1.0])
def test_the_limit_is_that_of_brute_force(network, eps) -> None:
    _, dense, everything, curve = network
    feasible = [increase.mean <= eps for increase in curve]
    found = one_shot_limit(partial(at, everything, dense), dense.total, eps)
    removed = round(found.measured * dense.total)
    assert feasible[removed]
    assert not feasible[removed + 1]
    assert found.low <= found.measured <= found.high
    first, last = feasible.index(False) - 1, len(feasible) - 1 - feasible[::-1].index(True)
    assert first <= removed <= last
    assert found.low * dense.total <= removed < found.high * dense.total + 1e-9


def test_where_the_curve_rises_there_is_one_answer(network) -> None:
    _, dense, everything, curve = network
    means = [increase.mean for increase in curve]
    gaps = [(m, max(means[: m + 1]), min(means[m + 1 :])) for m in range(dense.total)]
    only = [(m, (below + above) / 2) for m, below, above in gaps if 0 < below < above]
    assert len(only) > 20  # loss increases that are crossed only once
    for m, eps in only[:: len(only) // 8]:
        found = one_shot_limit(partial(at, everything, dense), dense.total, eps)
        assert found.measured == m / dense.total


@QUICK
@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.floats(0.01, 5))
def test_rising_curves(steps, eps) -> None:
    curve = np.concatenate([[0.0], np.cumsum(steps)])
    found = one_shot_limit(lambda m: Increase(float(curve[m]), 0.0), len(steps), eps, tolerance=0.0)
    assert found.measured == (int((curve <= eps).sum()) - 1) / len(steps)
    assert found.low <= found.measured <= found.high
    assert list(found.points) == sorted(found.points)


@QUICK
@given(st.integers(1000, 10**7), st.floats(0.05, 0.999), st.floats(0.3, 4))
def test_large_networks_are_bracketed_in_few_passes(total, limit, power) -> None:
    asked: list[int] = []

    def increase(m: int) -> Increase:
        asked.append(m)
        return Increase((m / total) ** power, 0.0)

    found = one_shot_limit(increase, total, limit**power)
    assert found.low <= limit <= found.high + 1e-9
    assert found.high - found.low <= 0.004
    assert len(asked) == len(set(asked)) <= 11


def test_the_ends_and_losses_that_are_not_finite() -> None:
    assert one_shot_limit(lambda _: Increase(0.0, 0.0), 10, 0.1).measured == 1
    nothing = one_shot_limit(lambda m: Increase(float(m > 0), 0.0), 10, 0.1)
    assert (nothing.measured, nothing.low) == (0, 0)
    broken = one_shot_limit(lambda m: Increase(math.inf if m > 6 else 0.01 * m, 0.0), 10, 0.5)
    assert (broken.measured, broken.low, broken.high) == (0.6, 0.6, 0.7)


def test_one_of_several_crossings_is_found() -> None:
    curve = [0, 1, 5, 1, 1, 5, 5, 1, 5]
    found = one_shot_limit(lambda m: Increase(curve[m], 0.0), 8, 2.0)
    removed = round(8 * found.measured)
    assert curve[removed] <= 2 < curve[removed + 1]


def test_fewer_samples_widen_the_interval_and_it_covers() -> None:
    task = make(width=20)
    dense = DenseNetwork(task.model)
    eps, covered = 0.1, 0
    whole = one_shot_limit(partial(at, Yardstick(task, dense.parameters), dense), dense.total, eps).measured
    for seed in range(20):
        some = Yardstick(task, dense.parameters, compared=lambda n: 60, seed=seed)
        assert some.samples == 60
        difference = sampled(task, dense, some, 60) - sampled(task, dense, some, 0)
        expected = float(difference.std(correction=0)) / math.sqrt(60) * math.sqrt(1 - 60 / len(some.whole))
        assert at(some, dense, 60).error == pytest.approx(expected)
        found = one_shot_limit(partial(at, some, dense), dense.total, eps)
        assert found.high - found.low > 3 / dense.total
        covered += found.low <= whole <= found.high
    assert covered >= 15  # few samples with a heavy tail, where 1.96 standard errors cover somewhat less than 95 %


def sampled(task, dense, yardstick, removed) -> torch.Tensor:
    """Losses of the yardstick's own samples, computed by hand."""
    x, y = (torch.cat(parts) for parts in zip(*yardstick.data.ordered(), strict=True))
    with dense.without(dense.masks(removed)), torch.no_grad():
        return torch.nn.functional.cross_entropy(task.model(x), y, reduction="none").double()


@QUICK
@given(st.floats(0.2, 6), st.floats(1e-3, 10), st.lists(st.floats(0.02, 1), min_size=2, max_size=6, unique=True))
def test_crossing_is_exact_on_power_laws(power, scale, places) -> None:
    places.sort()
    assume(all(b / a > 1.02 for a, b in pairwise(places)))
    rises = [scale * s**power for s in places]
    for s in np.geomspace(places[0] / 1.49, min(places[-1] * 1.49, 1.0), 5):
        assert crossing(places, rises, scale * s**power) == pytest.approx(s, rel=1e-9)


@pytest.mark.parametrize(
    ("rises", "eps"),
    [([0.1, 0.2], 1e-4), ([0.1, 0.2], 50.0), ([-0.1, 0.2], 0.1), ([0.2, 0.1], 0.3), ([0.0, 0.0], 0.1)],
)
def test_crossing_knows_when_it_does_not_know(rises, eps) -> None:
    assert crossing([0.4, 0.5], rises, eps) is None


def test_crossing_passes_over_what_fell() -> None:
    assert crossing([0.1, 0.2, 0.4], [-0.01, 0.04, 0.16], 0.09) == pytest.approx(0.3)


def test_few_samples_make_the_interval_wider() -> None:
    """Student's quantiles in place of the normal ones: with 16 samples 2.131 standard errors."""

    def noisy(m: int) -> Increase:
        return Increase(m / 1000, 0.02)

    many, few = (one_shot_limit(noisy, 1000, 0.3, samples=n) for n in (None, 16))
    assert many.measured == few.measured
    assert many.measured - many.low == pytest.approx(1.95996 * 0.02, rel=1e-4)
    assert few.measured - few.low == pytest.approx(2.13145 * 0.02, rel=1e-4)


# --- pruning that costs as much ---------------------------------------------------------------------------------------
@QUICK
@given(st.lists(st.floats(0, 10), min_size=1, max_size=3000), st.floats(0.001, 1), st.integers(0, 3))
def test_the_same_rise_is_found_between_points_that_are_known(steps, share, extra) -> None:
    curve = np.concatenate([[0.0], np.cumsum(steps)])
    total, rise = len(steps), float(share * curve[-1])
    assume(rise > 0)
    known = {m: float(curve[m]) for m in {total, *(total * i // 4 for i in range(1, extra + 1))}}
    looks = []

    def increase_at(m):
        looks.append(m)
        return float(curve[m])

    found = same_rise(increase_at, known, total, rise)
    below = max(m for m in range(total + 1) if curve[m] <= rise) / total
    assert below - 1e-9 <= found <= below + max(0.002, 1 / total) + 1e-9 or share == 1
    assert len(looks) <= 10
    assert not set(looks) & set(known)


def test_a_rise_that_no_pruning_has() -> None:
    known = {500: 0.25, 1000: 1.0}
    found = [same_rise(lambda m: (m / 1000) ** 2, known, 1000, rise) for rise in (-1.0, 0.0, 1.0, 1.001, math.inf)]
    assert found == [None, None, 1.0, None, None]
    endless = same_rise(lambda m: math.inf if m > 600 else 0.1, {1000: math.inf}, 1000, 0.2)
    assert endless == pytest.approx(0.6, abs=0.002)

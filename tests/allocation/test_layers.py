"""Allocations over layers: closed forms, exact sums, bounds, and errors that name what can be reached."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from howsparse import HowsparseError, Masks
from howsparse.allocation import erk, erk_counts, limit_aware, smart_ratio, table, uniform
from howsparse.allocation.rounding import largest_remainder
from howsparse.masks import group_sizes, remove_smallest
from howsparse.schedules import removed_at

shapes_of_nets = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=8,
).map(lambda shapes: {f"layer{i}.weight": shape for i, shape in enumerate(shapes)})


def sizes_of(shapes) -> dict[str, int]:
    return {name: math.prod(shape) for name, shape in shapes.items()}


def kept(shapes, counts) -> list[int]:
    return [size - int(counts[name]) for name, size in sizes_of(shapes).items()]


def dense(shapes) -> Masks:
    return Masks.dense({name: torch.zeros(shape) for name, shape in shapes.items()})


# --- rounding -------------------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=9), st.data())
def test_rounding_meets_the_sum_within_bounds(entries, data) -> None:
    quotas = torch.tensor([quota for quota, _, _ in entries], dtype=torch.float64)
    low = torch.tensor([least for _, least, _ in entries])
    high = low + torch.tensor([room for _, _, room in entries])
    total = data.draw(st.integers(int(low.sum()), int(high.sum())))
    counts = largest_remainder(quotas, total, low=low, high=high)
    assert int(counts.sum()) == total
    assert bool((counts >= low).all() and (counts <= high).all())
    for i in range(len(entries)):  # no single weight would be better off elsewhere
        for j in range(len(entries)):
            if counts[i] > low[i] and counts[j] < high[j]:
                assert float(counts[i] - quotas[i]) <= float(counts[j] - quotas[j]) + 1 + 1e-6


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), st.data())
def test_rounding_is_within_one_where_bounds_do_not_bite(sizes, data) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    quotas = torch.tensor(sizes, dtype=torch.float64) * (total / sum(sizes))
    counts = largest_remainder(quotas, total, low=torch.zeros(len(sizes)).long(), high=torch.tensor(sizes))
    assert int(counts.sum()) == total
    assert float((counts - quotas).abs().max()) < 1 + 1e-6


def test_rounding_refuses_what_bounds_forbid() -> None:
    with pytest.raises(HowsparseError, match="7 is not between the bounds 0 and 6"):
        largest_remainder(torch.ones(1).double(), 7, low=torch.tensor([0]), high=torch.tensor([6]))


# --- uniform --------------------------------------------------------------------------------------------------------
@given(shapes_of_nets, st.data())
def test_uniform(shapes, data) -> None:
    masks = dense(shapes)
    fixed = data.draw(st.lists(st.sampled_from(list(shapes)), unique=True, max_size=len(shapes) - 1))
    room = sum(size for name, size in sizes_of(shapes).items() if name not in fixed)
    removed = data.draw(st.integers(0, room))
    counts = uniform(masks, removed, dense=fixed)
    assert list(counts) == list(shapes)
    assert sum(int(count) for count in counts.values()) == removed
    assert all(int(counts[name]) == 0 for name in fixed)
    assert remove_smallest(masks, {n: m.float() for n, m in masks.items()}, counts, scope="layer").active == (
        masks.total - removed
    )


def test_uniform_names_the_largest_reachable_sparsity() -> None:
    masks = dense({"conv1": (4, 5), "conv2": (8, 10)})
    with pytest.raises(
        HowsparseError, match=r"largest reachable sparsity is 0\.8, because these tensors stay dense: conv1"
    ):
        uniform(masks, 81, dense=["conv1"])
    assert int(uniform(masks, 80, dense=["*1"])["conv2"]) == 80
    with pytest.raises(HowsparseError, match="largest reachable sparsity is 1"):
        uniform(masks, 101)
    with pytest.raises(HowsparseError, match="smallest reachable sparsity is 0"):
        uniform(masks, -1)
    with pytest.raises(HowsparseError, match="'conv9' matches no tensor: there is conv1, conv2; did you mean"):
        uniform(masks, 1, dense=["conv9"])
    assert all(int(count) == 0 for count in uniform(masks, 0, dense=["*"]).values())


def test_uniform_counts_only_what_lives() -> None:
    masks = Masks({"a": torch.tensor([1, 1, 0, 0]), "b": torch.ones(6)})
    counts = uniform(masks, 4)
    assert (int(counts["a"]), int(counts["b"])) == (1, 3)


# --- ERK ------------------------------------------------------------------------------------------------------------
@given(shapes_of_nets, st.floats(1e-3, 1), st.floats(0, 2), st.booleans())
def test_erk_meets_its_definition(shapes, density, power, kernel) -> None:
    densities = erk(shapes, density, power=power, kernel=kernel)
    sizes = sizes_of(shapes)
    total = sum(sizes.values())
    assert sum(densities[name] * sizes[name] for name in shapes) == pytest.approx(density * total, rel=1e-9)
    raw = {
        name: (sum(s if kernel else s[:2]) / math.prod(s if kernel else s[:2])) ** power for name, s in shapes.items()
    }
    scales = [densities[name] / raw[name] for name in shapes if densities[name] < 1]
    for name in shapes:
        assert 0 < densities[name] <= 1
        if densities[name] < 1:
            assert densities[name] == pytest.approx(max(scales) * raw[name], rel=1e-9)
        elif scales:  # full layers would get more than they hold
            assert max(scales) * raw[name] >= 1 - 1e-9


@given(shapes_of_nets, st.data(), st.booleans())
def test_erk_counts_are_exact(shapes, data, kernel) -> None:
    sizes = sizes_of(shapes)
    total = sum(sizes.values())
    removed = data.draw(st.integers(0, total - 1))
    counts = erk_counts(shapes, removed, kernel=kernel)
    found = kept(shapes, counts)
    assert sum(found) == total - removed
    assert all(0 <= k <= size for k, size in zip(found, sizes.values(), strict=True))
    if total - removed >= len(shapes):
        assert min(found) >= 1
    quotas = {name: d * sizes[name] for name, d in erk(shapes, (total - removed) / total, kernel=kernel).items()}
    if min(quotas.values()) >= 1:
        assert all(abs(k - quota) < 1 + 1e-6 for k, quota in zip(found, quotas.values(), strict=True))


@given(shapes_of_nets, st.floats(0.01, 1), st.floats(0.01, 1))
def test_erk_is_monotone(shapes, one, other) -> None:
    low, high = (erk(shapes, density) for density in sorted((one, other)))
    assert all(low[name] <= high[name] + 1e-12 for name in shapes)


def test_erk_special_cases() -> None:
    shapes = {"a": (64, 3, 3, 3), "b": (64, 64, 3, 3), "c": (10, 64)}
    assert erk(shapes, 0.25, power=0.0) == pytest.approx(dict.fromkeys(shapes, 0.25))
    assert erk(shapes, 1.0) == pytest.approx(dict.fromkeys(shapes, 1.0))
    flat = {name: shape[:2] for name, shape in shapes.items() if name != "c"}
    assert erk({n: (*s, 3, 3) for n, s in flat.items()}, 0.1, kernel=False) == pytest.approx(erk(flat, 0.1))
    with pytest.raises(HowsparseError, match="density = 0"):
        erk(shapes, 0.0)
    with pytest.raises(HowsparseError, match="largest reachable sparsity is 0.9"):
        erk_counts({"a": (2, 5)}, 10)
    with pytest.raises(HowsparseError, match="there are no layers"):
        erk({}, 0.5)
    with pytest.raises(HowsparseError, match=r"\['bias'\]"):
        erk({"bias": (5,)}, 0.5)


# --- Smart-Ratio ----------------------------------------------------------------------------------------------------
def rates(shapes, family: str, variant: str) -> list[float]:
    layers = len(shapes)
    found = []
    for number, shape in enumerate(shapes.values(), 1):
        k = layers - number + 1
        rate = {"quadratic": k**2 + k, "linear": k, "cubic": k**3, "ascending": number**2 + number, "uniform": 1}[
            variant
        ]
        found.append(
            0.0 if len(shape) == 2 else rate / (number**2 if family == "plain" and variant != "uniform" else 1)
        )
    return found


families = st.sampled_from(["residual", "plain"])
variants = st.sampled_from(["quadratic", "linear", "cubic", "ascending", "uniform"])


@given(shapes_of_nets, families, variants, st.data())
def test_smart_ratio_is_exact(shapes, family, variant, data) -> None:
    assume(any(len(shape) > 2 for shape in shapes.values()))
    sizes = list(sizes_of(shapes).values())
    linear = int(0.3 * sum(n for n, shape in zip(sizes, shapes.values(), strict=True) if len(shape) == 2))
    removed = data.draw(st.integers(0, sum(sizes) - linear))
    budget = sum(sizes) - linear - removed
    rate = rates(shapes, family, variant)
    mass = [r * n for r, n in zip(rate, sizes, strict=True)]
    quotas = [budget * m / sum(mass) for m in mass]
    room = [n if r else 0 for n, r in zip(sizes, rate, strict=True)]
    lost = max(sum(quotas[i:]) - sum(room[i:]) for i in range(len(sizes)))
    assume(abs(lost) > 1e-6 or lost == 0)
    if lost > 0:
        with pytest.raises(HowsparseError, match="the smallest reachable sparsity is"):
            smart_ratio(shapes, removed, family=family, variant=variant)
        return
    found = kept(shapes, smart_ratio(shapes, removed, family=family, variant=variant))
    assert sum(found) == sum(sizes) - removed
    assert all(0 <= k <= n for k, n in zip(found, sizes, strict=True))
    assert sum(k for k, r in zip(found, rate, strict=True) if not r) == linear
    convs = sum(r > 0 for r in rate)
    if budget >= convs:
        assert all(k >= 1 for k, r in zip(found, rate, strict=True) if r)
    if all(1 <= q <= n for q, n, r in zip(quotas, sizes, rate, strict=True) if r):  # nothing overflows
        assert all(abs(k - q) < 1 + 1e-6 for k, q, r in zip(found, quotas, rate, strict=True) if r)


NET = {"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "c": (16, 16, 3, 3), "fc": (10, 16)}


def test_smart_ratio_hands_excess_on() -> None:
    """At half density the first layer is full and the second takes its excess."""
    total = sum(sizes_of(NET).values())
    rate, sizes = rates(NET, "residual", "quadratic"), list(sizes_of(NET).values())
    budget = total - total // 2 - 48
    due = [
        budget * r * n / sum(r * n for r, n in zip(rate, sizes, strict=True)) for r, n in zip(rate, sizes, strict=True)
    ]
    assert due[0] > 216
    found = kept(NET, smart_ratio(NET, total // 2))
    assert found[0] == 216
    assert found[1] == pytest.approx(due[1] + due[0] - 216, abs=1)


@pytest.mark.parametrize("variant", ["ascending", "quadratic", "uniform"])
def test_smart_ratio_reports_what_it_can_reach(variant) -> None:
    """Asking for the named sparsity works, one weight less does not."""
    total = sum(sizes_of(NET).values())
    with pytest.raises(HowsparseError, match="linear layers keep a fixed share") as caught:
        smart_ratio(NET, 0, variant=variant)
    named = float(str(caught.value).split("reachable sparsity is ")[1].split(",")[0])
    removed = removed_at(named, total)
    assert sum(kept(NET, smart_ratio(NET, removed, variant=variant))) == total - removed
    with pytest.raises(HowsparseError, match=f"smallest reachable sparsity is {named}"):
        smart_ratio(NET, removed - 1, variant=variant)


def test_smart_ratio_errors() -> None:
    total = sum(sizes_of(NET).values())
    with pytest.raises(HowsparseError, match=r"largest reachable sparsity is 0\.98747.*linear layers keep 0\.3.*: fc"):
        smart_ratio(NET, total - 47)
    assert kept(NET, smart_ratio(NET, total - 48)) == [0, 0, 0, 48]
    with pytest.raises(HowsparseError, match="variant 'quartic'"):
        smart_ratio(NET, 10, variant="quartic")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="linear_density = 2"):
        smart_ratio(NET, 10, linear_density=2)
    with pytest.raises(HowsparseError, match="there is none; take erk or uniform"):
        smart_ratio({"fc": (3, 4)}, 1)


# --- table ----------------------------------------------------------------------------------------------------------
def test_table_alone_leaves_others_dense() -> None:
    masks = dense(
        {"conv1.weight": (10, 10), "layer1.0.weight": (10, 10), "layer1.1.weight": (10, 10), "fc.weight": (2, 5)}
    )
    counts = table(masks, {"layer1.*": 0.505, "layer1.1.weight": 0.25, "fc.weight": 0.99})
    assert [int(count) for count in counts.values()] == [0, 51, 25, 9]  # halves up; one weight of fc stays


def test_table_takes_earlier_patterns_first() -> None:
    masks = dense({"a1": (10, 10), "a2": (10, 10)})
    assert [int(c) for c in table(masks, {"*2": 0.1, "a*": 0.5}).values()] == [50, 10]
    assert [int(c) for c in table(masks, {"a*": 0.5, "*2": 0.1}).values()] == [50, 50]


@given(shapes_of_nets, st.data())
def test_table_meets_the_total(shapes, data) -> None:
    masks = dense(shapes)
    sizes = group_sizes(masks, "layer")
    chosen = data.draw(st.dictionaries(st.sampled_from(list(shapes)), st.floats(0, 1, exclude_max=True)))
    removed = data.draw(st.integers(0, masks.total))
    fixed = {name: min(math.floor(s * int(sizes[name]) + 0.5), int(sizes[name]) - 1) for name, s in chosen.items()}
    room = sum(int(sizes[name]) for name in shapes if name not in chosen)
    if not sum(fixed.values()) <= removed <= sum(fixed.values()) + room:
        with pytest.raises(HowsparseError, match="reachable sparsity is"):
            table(masks, chosen, removed=removed)
        return
    counts = table(masks, chosen, removed=removed)
    assert sum(int(count) for count in counts.values()) == removed
    assert {name: int(counts[name]) for name in chosen} == fixed
    assert all(0 <= int(counts[name]) <= int(size) for name, size in sizes.items())


def test_table_errors() -> None:
    masks = dense({"conv": (10, 10), "fc": (10, 10)})
    with pytest.raises(HowsparseError, match=r"sparsity 1\.0 of 'fc'"):
        table(masks, {"fc": 1.0})
    with pytest.raises(HowsparseError, match=r"'conf' matches no tensor: there is conv, fc; did you mean conv"):
        table(masks, {"conf": 0.5})
    with pytest.raises(HowsparseError, match=r"the largest reachable sparsity is 0\.6, .* fixes these tensors: fc"):
        table(masks, {"fc": 0.2}, removed=130)
    with pytest.raises(HowsparseError, match=r"the smallest reachable sparsity is 0\.1, .* fixes these tensors: fc"):
        table(masks, {"fc": 0.2}, removed=13)


# --- limit-aware ----------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(2, 20), min_size=1, max_size=5), st.integers(0, 2**31), st.data())
def test_limit_aware_costs_least(sizes, seed, data) -> None:
    """Layer by layer the counts are those of the smallest increases altogether, wherever no layer is emptied."""
    generator = torch.Generator().manual_seed(seed)
    weights = {f"l{i}": torch.randn(n, generator=generator, dtype=torch.float64) for i, n in enumerate(sizes)}
    curvature = {name: data.draw(st.floats(0.01, 100)) for name in weights}
    masks = Masks({name: torch.rand(w.shape, generator=generator) < 0.8 for name, w in weights.items()})
    assume(masks.active > 0)
    removed = data.draw(st.integers(0, masks.active))
    counts = limit_aware(weights, masks, curvature, removed=removed)
    assert sum(int(count) for count in counts.values()) == removed
    living = {n: (0.5 * curvature[n] * w[masks[n]] ** 2).sort().values for n, w in weights.items()}
    gone = [values[: int(counts[name])] for name, values in living.items()]
    could_go = sum(max(len(values) - 1, 0) for values in living.values())
    if removed <= could_go:
        assert all(int(counts[name]) < len(values) or not len(values) for name, values in living.items())
        candidates = torch.cat([values[:-1] for values in living.values()]).sort().values
        assert float(torch.cat(gone).sum()) == pytest.approx(float(candidates[:removed].sum()), rel=1e-9, abs=1e-12)


def test_limit_aware_of_equal_layers_is_global_magnitude() -> None:
    torch.manual_seed(0)
    weights = {"a": torch.randn(30, 20), "b": 3 * torch.randn(10, 30)}
    masks = Masks.dense(weights)
    plain = remove_smallest(
        masks, {n: w.abs() for n, w in weights.items()}, {"global": torch.tensor(700)}, scope="global"
    )
    counts = limit_aware(weights, masks, {"a": 0.7, "b": 0.7}, removed=700)
    assert {n: int(c) for n, c in counts.items()} == {n: int((~m).sum()) for n, m in plain.items()}
    flatter = limit_aware(weights, masks, {"a": 0.7, "b": 0.07}, removed=700)
    assert int(flatter["b"]) > int(counts["b"])


def test_limit_aware_does_not_underflow_or_empty_a_flat_layer() -> None:
    weights = {"a": torch.tensor([1e-30, 2e-30, 3e-30, 4e-30]), "b": torch.tensor([2.5e-30, 1.0])}
    counts = limit_aware(weights, Masks.dense(weights), {"a": 1.0, "b": 1.0}, removed=3)
    assert (int(counts["a"]), int(counts["b"])) == (2, 1)
    counts = limit_aware(weights, Masks.dense(weights), {"a": 0.0, "b": 1.0}, removed=4)
    assert (int(counts["a"]), int(counts["b"])) == (3, 1)


def test_limit_aware_errors() -> None:
    weights = {"a": torch.ones(4), "b": torch.ones(4)}
    masks = Masks.dense(weights)
    with pytest.raises(HowsparseError, match="curvature of b must be finite and at least 0, that of b is -1"):
        limit_aware(weights, masks, {"a": 1.0, "b": -1.0}, removed=1)
    with pytest.raises(HowsparseError, match="that of a is None"):
        limit_aware(weights, masks, {}, removed=1)
    with pytest.raises(HowsparseError, match="cannot remove 9 of 8 weights"):
        limit_aware(weights, masks, {"a": 1.0, "b": 1.0}, removed=9)

"""Growth of sparsity, drop rates and update steps: vectors and properties."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError
from howsparse.schedules import (
    constant,
    cosine,
    cubic,
    exponential,
    linear,
    one_shot,
    progress,
    update_steps,
)
from tests.allocation.test_reference import cases, each

GROWING = (cubic, linear, exponential, one_shot)
sparsities = st.floats(0, 0.999)


@each("methods_vectors", "cases", ("cubic_schedule",), "kind")
def test_granet(case) -> None:
    """Progress in whole events; the event at the end itself does not take place."""
    inputs, rows = case["inputs"], case["expected"]["rows"]
    every, epoch = inputs["freq"], inputs["steps_per_epoch"]
    begin, end = (inputs[f"{which}_prune_epoch"] * epoch // every for which in ("init", "final"))
    total = rows[-1]["step"]
    found = {}
    for step in update_steps(total, begin * every / total, end * every / total, every=every):
        found[step] = cubic(
            step // every, begin, end, first=1 - inputs["init_density"], last=1 - inputs["final_density"]
        )
    expected = {row["step"]: row["target_sparsity"] for row in rows if row["target_sparsity"] is not None}
    assert found == pytest.approx(expected, abs=case["tol"]["abs"])
    for row in rows:  # the authors' strict comparison keeps one weight less
        if row["step"] in found:
            kept = int(inputs["numel"] * (1 - found[row["step"]]) + 1e-9)
            assert abs(kept - row["nnz_official"]) <= case["tol"]["count_abs"]


@each("methods_vectors", "cases", ("polynomial_schedule",), "kind")
def test_polynomial(case) -> None:
    """The reference counts the step under way as done."""
    for inputs, expected in zip(case["inputs"], case["expected"], strict=True):
        start, end, target = inputs["start"], inputs["end"], inputs["target"]
        assert [step for step, _ in expected] == list(range(start, end + 1, inputs["freq"]))
        found = [cubic(step + 1, start, end, last=target) for step, _ in expected]
        assert found == pytest.approx([sparsity for _, sparsity in expected], abs=case["tol"]["abs"])


@each("methods_vectors", "cases", ("cosine_drop_rate",), "kind")
def test_drop_rate_of_granet(case) -> None:
    inputs = case["inputs"]
    found = [cosine(t / inputs["t_max"], inputs["rate"], inputs["eta_min"]) for t in range(inputs["t_max"] + 1)]
    assert found == pytest.approx(case["expected"]["values"], abs=case["tol"]["abs"])


@each("methods_vectors", "cases", ("drop_fraction",), "kind")
def test_drop_rate_of_rigl(case) -> None:
    found = [cosine(inputs["t"] / inputs["t_end"], inputs["alpha"]) for inputs in case["inputs"]]
    assert found == pytest.approx(case["expected"], abs=case["tol"]["abs"])


def test_the_vectors_are_all_here(shared) -> None:
    assert shared.is_dir()
    kinds = [case["kind"] for case in cases("methods_vectors", "cases")]
    wanted = ("cubic_schedule", "polynomial_schedule", "cosine_drop_rate", "drop_fraction")
    assert [kinds.count(kind) for kind in wanted] == [2, 1, 1, 1]


@given(st.sampled_from(GROWING), sparsities, sparsities, st.lists(st.floats(-1, 2), min_size=2, max_size=2), st.data())
def test_growth_is_monotone_and_meets_its_ends(growth, first, last, shares, data) -> None:
    first, last = sorted((first, last))
    start, end = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    earlier, later = (growth(share, start, end, first=first, last=last) for share in sorted(shares))
    assert first - 1e-12 <= earlier <= later + 1e-12 <= last + 2e-12
    assert growth(end, start, end, first=first, last=last) == last
    assert growth(start - 0.01, start, end, first=first, last=last) == pytest.approx(first, abs=1e-15)


@given(st.integers(1, 200), st.floats(0.01, 0.99))
def test_equal_shares_and_equal_numbers(rounds, last) -> None:
    """Exponential growth removes the same share of what is left each round, linear growth the same number."""
    left = [1 - exponential(j, 0, rounds, last=last) for j in range(rounds + 1)]
    assert all(b / a == pytest.approx((1 - last) ** (1 / rounds)) for a, b in pairwise(left))
    gone = [linear(j, 0, rounds, last=last) for j in range(rounds + 1)]
    assert all(b - a == pytest.approx(last / rounds) for a, b in pairwise(gone))


@given(st.floats(-2, 3), sparsities)
def test_constant(share, last) -> None:
    assert constant(share, 0.2, 0.8, last=last) == last


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 2))
def test_cosine(first, last, share) -> None:
    low, high = sorted((first, last))
    assert low - 1e-12 <= cosine(share, first, last) <= high + 1e-12
    assert cosine(0, first, last) == pytest.approx(first)
    assert cosine(1, first, last) == pytest.approx(last)
    assert cosine(share, first, last) + cosine(1 - share, first, last) == pytest.approx(first + last)


@given(st.integers(1, 10**6), st.integers(0, 99), st.integers(1, 100), st.one_of(st.none(), st.integers(1, 10**5)))
def test_update_steps_are_the_multiples_in_the_window(total, begin, length, every) -> None:
    end = min(begin + length, 100)
    interval = every or max(min(1000, total // 100), 1)
    first = max(-(-begin * total // 100), 1)  # in whole numbers
    stop = -(-end * total // 100)
    expected = range(-(-first // interval) * interval, stop, interval)
    if expected:
        assert update_steps(total, begin / 100, end / 100, every=every) == expected
    else:
        with pytest.raises(HowsparseError, match="no mask changes"):
            update_steps(total, begin / 100, end / 100, every=every)


def test_published_events() -> None:
    assert len(update_steps(32_000, 0.0, 25_000 / 32_000, every=100)) == 249
    assert update_steps(1_000_000)[0] == 1000
    assert update_steps(50)[0] == 1
    assert math.isclose(progress(update_steps(100, every=10)[-1], 0, 100), 0.9)


def test_errors() -> None:
    with pytest.raises(HowsparseError, match=r"last = 1\.0"):
        cubic(0.5, last=1.0)
    with pytest.raises(HowsparseError, match="first = -1"):
        constant(0.5, first=-1, last=0.5)
    with pytest.raises(HowsparseError, match=r"start = 0\.8, end = 0\.2"):
        linear(0.5, 0.8, 0.2, last=0.5)
    with pytest.raises(HowsparseError, match=r"first = 1\.5.*drop rate"):
        cosine(0.5, 1.5)
    with pytest.raises(HowsparseError, match=r"begin = 0\.5, end = 0\.5"):
        update_steps(10, 0.5, 0.5)
    with pytest.raises(HowsparseError, match="every = 0"):
        update_steps(10, every=0)
    with pytest.raises(HowsparseError, match=r"none of the steps 0 to 49 .* shorter interval than every=50"):
        update_steps(100, 0.0, 0.5, every=50)

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError, Masks
from howsparse.allocation import fraction_of_each, pqi_adaptive, proportional, prune_count, share_of
from howsparse.schedules import cycles_to_reach, removed_at


@given(st.integers(1, 10**7), st.integers(1, 99))
def test_share_is_exact_in_integers(size, percent) -> None:
    assert share_of(size, percent / 100) == min(-(-percent * size // 100), size - 1)
    assert share_of(size, percent / 100, "quantile") == -(-percent * (size - 1) // 100)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.data())
def test_proportional_is_exact_and_fair(sizes, data) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    counts = proportional({str(i): torch.tensor(s) for i, s in enumerate(sizes)}, total)
    found = [int(counts[str(i)]) for i in range(len(sizes))]
    assert sum(found) == total
    can_keep_one = total <= sum(max(size - 1, 0) for size in sizes)
    for count, size in zip(found, sizes, strict=True):
        assert 0 <= count <= size
        assert count < size or size == 0 or not can_keep_one
        if all(c < s for c, s in zip(found, sizes, strict=True)) and total * max(sizes) <= sum(sizes) * (
            max(sizes) - 2
        ):
            assert abs(count - total * size / sum(sizes)) < 2


@given(st.integers(1, 10**8), st.floats(0, 1))
def test_the_guard_keeps_integers(d, share) -> None:
    """r an exact integer: c = d - r, whatever rounding the logarithms left."""
    r = max(1, round(share * d))
    noisy = torch.tensor(r * (1 + 1e-15) + 1e-10, dtype=torch.float64)
    assert int(prune_count(torch.tensor(d), noisy)) == min(d - r, math.floor(0.9 * d + 1e-9))


@given(st.integers(2, 400), st.data())
def test_count_never_loses_one_to_rounding(d, data) -> None:
    """The authors' floor(d (1 - m / d)) loses one weight in a fifth of all pairs; ours never does."""
    m = data.draw(st.integers(1, d))
    assert int(prune_count(torch.tensor(d), torch.tensor(float(m), dtype=torch.float64), beta=0.999999)) == min(
        d - m, math.floor(0.999999 * d)
    )


def test_group_without_an_index_gives_nothing() -> None:
    weights = {"w": torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, 1.0]])}
    step = pqi_adaptive(weights, Masks.dense(weights), scope="neuron")
    assert step.counts()["w"][0] == 0
    assert math.isnan(step.index["w"][0])


def test_published_identities() -> None:
    """eta = 1 keeps a quarter; gamma >= 3 on a trained-like net meets the cap."""
    torch.manual_seed(0)
    w = {"w": torch.randn(100, 1000) * torch.logspace(-1, 1, 1000)}
    dense = Masks.dense(w)

    def removed(eta: float = 0.0, **knobs: float) -> int:
        return int(pqi_adaptive(w, dense, scope="global", eta=eta).counts(**knobs)["global"])

    kept = {eta: 10**5 - removed(eta, beta=0.99) for eta in (0, 1)}
    assert kept[1] == pytest.approx(kept[0] / 4, abs=1)
    assert removed(gamma=9) == 90_000


def test_schedules() -> None:
    assert cycles_to_reach(0.0, 0.2) == 0
    assert cycles_to_reach(1 - 0.8**7, 0.2) == 7
    assert removed_at(0.9, 10) == 9
    assert removed_at(1 / 3, 3) == 1


def test_errors() -> None:
    with pytest.raises(HowsparseError, match="gamma = 0"):
        prune_count(torch.tensor(3), torch.tensor(1.0), gamma=0)
    with pytest.raises(HowsparseError, match="rounding 'up'"):
        prune_count(torch.tensor(3), torch.tensor(1.0), rounding="up")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="cannot remove 7 weights: 6 are left"):
        proportional({"a": torch.tensor(6)}, 7)
    with pytest.raises(HowsparseError, match="count rule 'floor'"):
        share_of(3, 0.1, "floor")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="cannot remove 2 of 2"):
        share_of(2, 0.5, "reference")
    assert fraction_of_each({"a": torch.tensor([0, 1, 2])}, 0.2)["a"].tolist() == [0, 0, 1]

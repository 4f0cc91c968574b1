"""The PQ Index against closed forms, its theorem, and itself in other forms."""

import math
from functools import reduce
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from howsparse.errors import HowsparseError
from howsparse.measures import PowerSums, effective_count, entries, gini, power_sums, pqi, pqi_upper, retained_bound

PAIRS = [(0.5, 1.0), (1.0, 2.0), (0.2, 1.0), (0.1, 1.0), (0.5, 2.0)]
QUICK = settings(deadline=None, max_examples=60)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def random_mask(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def same(a: Tensor, b: Tensor, tolerance: float = 1e-13) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


@st.composite
def orders(draw: st.DrawFn) -> tuple[float, float]:
    p = draw(st.floats(0.1, 3.0))
    return p, p + draw(st.floats(0.05, 3.0))


vectors = st.lists(st.floats(-4, 4).map(lambda v: round(v, 3)), min_size=1, max_size=50).filter(any)

UNIFORM = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
DISTRIBUTIONS = {
    "gauss": (
        torch.special.ndtri((1 + UNIFORM) / 2),
        lambda p: 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi),
    ),
    "laplace": (-torch.log1p(-UNIFORM), lambda p: math.gamma(1 + p)),
    "uniform": (UNIFORM, lambda p: 1 / (p + 1)),
}
PUBLISHED = {"gauss": (0.15279, 0.84721), "laplace": (0.21460, 0.78540), "uniform": (0.11111, 0.88889)}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_distributions_have_their_closed_form(name: str, p: float, q: float) -> None:
    x, moment = DISTRIBUTIONS[name]
    ratio = moment(p) ** (1 / p) / moment(q) ** (1 / q)
    assert pqi(x, p=p, q=q).item() == pytest.approx(1 - ratio, abs=3e-5)
    keep = effective_count(x, p=p, q=q).item() / len(x)
    assert keep == pytest.approx(ratio ** (p * q / (q - p)), abs=3e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_distributions_have_the_tabulated_values(name: str) -> None:
    x, _ = DISTRIBUTIONS[name]
    index, keep = PUBLISHED[name]
    assert pqi(x).item() == pytest.approx(index, abs=2e-5)
    assert effective_count(x).item() / len(x) == pytest.approx(keep, abs=2e-5)


@QUICK
@given(vectors, orders())
def test_range_and_bound_for_every_count(values: list[float], pq: tuple[float, float]) -> None:
    (p, q), w, d = pq, torch.tensor(values, dtype=torch.float64).abs().sort(descending=True).values, len(values)
    raw = -torch.expm1(power_sums(w, p=p, q=q).log_ratio).item()
    assert -1e-9 < raw < pqi_upper(d, p, q) + 1e-9  # clamping repairs rounding only
    index = pqi(w, p=p, q=q).item()
    assert 0 <= index <= pqi_upper(d, p, q)
    energy = w**p
    for r in range(1, d + 1):
        eta = (energy[r:].sum() / energy[:r].sum()).item()
        assert r >= retained_bound(d, index, p=p, q=q, eta=eta) - 1e-9 * d
    count = effective_count(w, p=p, q=q).item()
    assert count == pytest.approx(retained_bound(d, index, p=p, q=q), rel=1e-6)
    assert 1 <= count <= w.count_nonzero().item() + 1e-9 * d


@QUICK
@given(st.integers(1, 40), st.integers(0, 40), orders())
def test_equal_non_zeros(k: int, zeros: int, pq: tuple[float, float]) -> None:
    p, q = pq
    w = torch.cat([torch.full((k,), -0.37), torch.zeros(zeros)])
    assert pqi(w, p=p, q=q).item() == pytest.approx(1 - (k / (k + zeros)) ** (1 / p - 1 / q), abs=1e-13)
    assert effective_count(w, p=p, q=q).item() == pytest.approx(k, rel=1e-10)


@QUICK
@given(vectors, orders(), st.randoms(use_true_random=False))
def test_order_and_sign_do_not_matter(values: list[float], pq: tuple[float, float], random_: object) -> None:
    p, q = pq
    w = torch.tensor(values, dtype=torch.float64)
    shuffled = list(values)
    random_.shuffle(shuffled)  # type: ignore[attr-defined]
    other = -torch.tensor(shuffled, dtype=torch.float64)
    same(pqi(w, p=p, q=q), pqi(other, p=p, q=q))
    same(gini(w), gini(other))


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-300, 1e300])
@pytest.mark.parametrize(("p", "q"), [*PAIRS, (2.0, 5.0)])
def test_scale_does_not_matter(scale: float, p: float, q: float) -> None:
    w = random(300)
    same(pqi(w * scale, p=p, q=q), pqi(w, p=p, q=q))
    same(effective_count(w * scale, p=p, q=q), effective_count(w, p=p, q=q), 1e-11)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_float32_scales_do_not_under_or_overflow(scale: float) -> None:
    w = (random(300) * scale).float()
    same(pqi(w), pqi(w.double()))
    same(pqi(w), pqi(random(300)), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dim", [None, 1])
def test_low_precision_is_exact_for_the_stored_values(dtype: torch.dtype, dim: int | None) -> None:
    w, mask = random(20, 30, dtype=dtype), random_mask(20, 30)
    for function in (pqi, gini):
        same(function(w, mask, dim=dim), function(w.double(), mask, dim=dim))
        assert function(w, mask, dim=dim).dtype == torch.float64


@pytest.mark.parametrize("function", [pqi, gini, effective_count])
@pytest.mark.parametrize("dim", [0, 1, 2, -1, (0, 2), (-1, 0), (0, 1, 2)])
def test_dim_agrees_with_a_loop(function: object, dim: int | tuple[int, ...]) -> None:
    w, mask = random(3, 4, 5).transpose(0, 1), random_mask(4, 3, 5)
    mask[0] = False
    mask[:, 0] = False
    w[1] = 0
    reduced = {d % 3 for d in ((dim,) if isinstance(dim, int) else dim)}
    kept = [d for d in range(3) if d not in reduced]
    expected = torch.empty([w.shape[d] for d in kept], dtype=torch.float64)
    for index in product(*(range(w.shape[d]) for d in kept)):
        where = [slice(None)] * 3
        for d, i in zip(kept, index, strict=True):
            where[d] = i
        expected[index] = function(w[tuple(where)], mask[tuple(where)])  # type: ignore[operator]
    same(function(w, mask, dim=dim), expected)  # type: ignore[operator]
    assert bool(expected.isnan().any()) == (len(kept) > 0)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_empty_groups_are_undefined(shape: tuple[int, int]) -> None:
    w = torch.empty(shape)
    for function in (pqi, gini, effective_count):
        assert math.isnan(function(w))
        assert function(w, dim=1).shape == (shape[0],)
        assert function(w, dim=1).isnan().all()
        assert math.isnan(function([]))


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1e-30, 1.0, 1e30), (1e30, 1e-30, 0.0)])
@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_merging_equals_concatenating(scales: tuple[float, float, float], p: float, q: float) -> None:
    parts = [scale * random(40 + 7 * k, seed=k) for k, scale in enumerate(scales)]
    masks = [random_mask(len(part), seed=9 + k) for k, part in enumerate(parts)]
    merged = reduce(PowerSums.merge, [power_sums(w, m, p=p, q=q) for w, m in zip(parts, masks, strict=True)])
    whole = power_sums(torch.cat(parts), torch.cat(masks), p=p, q=q)
    same(merged.pqi, whole.pqi)
    same(merged.effective_count, whole.effective_count, 1e-11)
    same(merged.count, whole.count)
    same(pqi(parts, masks, p=p, q=q), whole.pqi)
    same(gini(parts, masks), gini(torch.cat(parts), torch.cat(masks)))
    same(reduce(PowerSums.merge, reversed([power_sums(w, p=p, q=q) for w in parts])).pqi, pqi(parts, p=p, q=q))


def test_merging_rows_and_reducing_like_several_processes() -> None:
    a, b = random(6, 8), 1e8 * random(6, 5, seed=3)
    a[2] = b[2] = a[3] = 0
    left, right = power_sums(a, dim=1), power_sums(b, dim=1)
    same(left.merge(right).pqi, pqi(torch.cat([a, b], 1), dim=1))
    scale = torch.maximum(left.scale, right.scale)
    left, right = left.rescaled(scale), right.rescaled(scale)
    total = PowerSums(scale, left.sum_p + right.sum_p, left.sum_q + right.sum_q, left.count + right.count, 0.5, 1.0)
    same(total.pqi, pqi(torch.cat([a, b], 1), dim=1))


def test_sums_with_other_orders_do_not_merge() -> None:
    with pytest.raises(HowsparseError, match=r"p=0\.5, q=1\.0 cannot merge with sums for p=1, q=2"):
        power_sums(random(3)).merge(power_sums(random(3), p=1, q=2))


@pytest.mark.parametrize("garbage", [7.0, math.nan, math.inf])
def test_masked_equals_compacted(garbage: float) -> None:
    w, mask = random(200), random_mask(200)
    w[~mask] = garbage
    for function in (pqi, gini, effective_count):
        same(function(w, mask), function(w[mask]))
        same(function(w.reshape(1, 200), mask.reshape(1, 200), dim=1)[0], function(w[mask]))


def test_active_zeros_count() -> None:
    w = random(50)
    with_zeros = torch.cat([w, torch.zeros(30)])
    same(1 - pqi(with_zeros), (1 - pqi(w)) * 50 / 80)
    same(effective_count(with_zeros), effective_count(w))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunk_size_does_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    w, mask = random(13, 41), random_mask(13, 41)
    w[4] = 0
    cases = [(f, m, dim) for f in (pqi, gini, effective_count) for m in (None, mask) for dim in (None, 0, 1)]
    expected = [function(w, m, dim=dim) for function, m, dim in cases]
    monkeypatch.setattr(entries, "CHUNK", chunk)
    for (function, m, dim), value in zip(cases, expected, strict=True):
        same(function(w, m, dim=dim), value)


class LargestFloat64(TorchDispatchMode):
    """Remembers the largest float64 tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype == torch.float64:
            self.entries = max(self.entries, out.numel())
        return out


@pytest.mark.parametrize(("function", "dim"), [(pqi, None), (pqi, 1), (pqi, 0), (gini, None)])
def test_memory_is_bounded_by_the_chunk(function: object, dim: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "CHUNK", 64)
    w, mask = random(3, 1000, dtype=torch.float32), random_mask(3, 1000)
    with LargestFloat64() as seen:
        function(w.t() if dim == 0 else w, mask.t() if dim == 0 else mask, dim=dim)  # type: ignore[operator]
    assert 0 < seen.entries <= 64


def test_parameters_and_their_graph_are_left_alone() -> None:
    w = torch.nn.Parameter(random(4, 5))
    before = w.detach().clone()
    assert not pqi(w).requires_grad
    assert not gini(w, dim=1).requires_grad
    assert torch.equal(w, before)


@pytest.mark.parametrize(
    ("p", "q"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.inf)]
)
def test_orders_out_of_range(p: float, q: float) -> None:
    for call in (lambda: pqi(random(3), p=p, q=q), lambda: pqi_upper(3, p, q), lambda: retained_bound(3, 0, p=p, q=q)):
        with pytest.raises(HowsparseError, match="0 < p < q"):
            call()


def test_close_orders_warn() -> None:
    with pytest.warns(UserWarning, match=r"differ by less than 0\.05"):
        pqi(random(3), p=1.0, q=1.04)
    pqi(random(3), p=0.95, q=1.0)  # exactly 0.05 apart: no warning, which would be an error here


@pytest.mark.parametrize("function", [pqi, gini])
@pytest.mark.parametrize("dim", [None, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.bfloat16, torch.float64])
def test_non_finite_weights(function: object, dim: int | None, bad: float, dtype: torch.dtype) -> None:
    w, mask = random(3, 4, dtype=dtype), torch.ones(3, 4, dtype=torch.bool)
    w[0, 0] = w[1, 2] = w[2, 3] = bad
    mask[0, 0] = False
    with pytest.raises(HowsparseError, match=r"2 of 12 weights .* first at index \(1, 2\)"):
        function(w, mask, dim=dim)  # type: ignore[operator]


@pytest.mark.parametrize("function", [pqi, gini])
def test_unfit_arguments(function: object) -> None:
    w = random(3, 4)
    cases: list[tuple[tuple[object, ...], dict[str, object], str]] = [
        ((w.int(),), {}, "torch.int32 cannot be measured"),
        ((torch.complex(w, w),), {}, "complex128 cannot be measured"),
        ((w.to_sparse(),), {}, "to_dense"),
        ((w, w > 0, 1.0), {}, "positional"),
        ((w, (w > 0).float()), {}, "must be boolean"),
        ((w, w[0] > 0), {}, r"shape \(4,\), the weights have \(3, 4\)"),
        ((w, [w > 0]), {}, "one mask tensor or None"),
        (([w], w > 0), {}, "sequence of masks"),
        (([w, w], [None]), {}, "2 tensors came with 1 masks"),
        (([w, w],), {"dim": 0}, "needs one tensor"),
        ((w,), {"dim": 2}, "dim=2 does not name"),
        ((w,), {"dim": (0, -2)}, "does not name distinct"),
    ]
    for args, kwargs, message in cases:
        with pytest.raises((HowsparseError, TypeError), match=message):
            function(*args, **kwargs)  # type: ignore[operator]


def test_bound_and_upper_work_on_tensors() -> None:
    d, index = torch.tensor([4, 1, 0]), torch.tensor([0.25, 0.0, math.nan])
    same(retained_bound(d, index, p=0.5, q=1.0, eta=1.0), torch.tensor([0.75, 0.25, math.nan], dtype=torch.float64))
    same(pqi_upper(d, 0.5, 1.0), torch.tensor([0.75, 0.0, math.nan], dtype=torch.float64))
    assert math.isnan(pqi_upper(0, 0.5, 1.0))
    assert retained_bound(5, 1.0, p=0.5, q=1.0) == 0.0
    with pytest.raises(HowsparseError, match="eta=-1"):
        retained_bound(3, 0.5, p=0.5, q=1.0, eta=-1)

"""Every cell of the table of axioms: random vectors for each "yes", a stored counterexample for each "no"."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from howsparse.measures import AXIOMS, MEASURES, power_sums

Score = Callable[[Tensor], float]
QUICK = settings(deadline=None, max_examples=40)


def vector(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-11 * max(1.0, abs(a))


def robin_hood(score: Score, w: Tensor, larger: int, smaller: int, share: float) -> bool:
    """D1: moving `share` < 1/2 of the gap from a larger entry to a smaller one lowers the score."""
    moved, amount = w.clone(), share * (w[larger] - w[smaller])
    moved[larger] -= amount
    moved[smaller] += amount
    return score(moved) < score(w)


def scaling(score: Score, w: Tensor, factor: float) -> bool:
    """D2: a positive factor changes nothing."""
    return close(score(factor * w), score(w))


def rising_tide(score: Score, w: Tensor, amount: float) -> bool:
    """D3: adding the same to all entries, not all the same, lowers the score."""
    return score(w + amount) < score(w)


def cloning(score: Score, w: Tensor, copies: int) -> bool:
    """D4: copies change nothing."""
    return close(score(w.repeat(copies)), score(w))


def bill_gates(score: Score, w: Tensor, entry: int, grown: float, more: float) -> bool:
    """P1: an entry that has grown to `grown` raises the score by growing further."""
    rich, richer = w.clone(), w.clone()
    rich[entry], richer[entry] = grown, grown + more
    return score(richer) > score(rich)


def babies(score: Score, w: Tensor) -> bool:
    """P2: a further zero raises the score."""
    return score(torch.cat([w, w.new_zeros(1)])) > score(w)


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Two to fifty magnitudes in steps of 0.01, zeros among them, not all zero."""
    values = draw(st.lists(st.integers(0, 200), min_size=2, max_size=50))
    assume(any(values))
    return vector(values) / 100


def holds(axiom: str, score: Score, w: Tensor, data: st.DataObject) -> bool:
    """Whether the axiom holds for one vector and drawn settings."""
    distinct = w.unique().numel() > 1
    if axiom in {"D1", "D3"}:
        assume(distinct)
    if axiom == "D1":
        larger, smaller = data.draw(st.permutations(range(len(w))))[:2]
        larger, smaller = (larger, smaller) if w[larger] > w[smaller] else (smaller, larger)
        assume(w[larger] > w[smaller])
        return robin_hood(score, w, larger, smaller, data.draw(st.integers(1, 49)) / 100)
    if axiom == "D2":
        return scaling(score, w, data.draw(st.sampled_from([1e-30, 1e-6, 0.3, 7.0, 1e30])))
    if axiom == "D3":
        return rising_tide(score, w, data.draw(st.integers(1, 100)) / 100)
    if axiom == "D4":
        return cloning(score, w, data.draw(st.integers(2, 5)))
    if axiom == "P1":
        entry = data.draw(st.integers(0, len(w) - 1))
        assume(torch.cat([w[:entry], w[entry + 1 :]]).any())
        grown = 1.5 * w.max().item()
        return bill_gates(score, w, entry, grown, grown * data.draw(st.integers(1, 30)) / 10)
    return babies(score, w)


def score_of(name: str) -> Score:
    return lambda w: MEASURES[name].function(w).item()


YES = [(name, axiom) for name, measure in MEASURES.items() for axiom in sorted(measure.axioms)]
NO = {(name, axiom) for name in MEASURES for axiom in AXIOMS} - set(YES)


@pytest.mark.parametrize(("name", "axiom"), YES)
@QUICK
@given(w=weights(), data=st.data())
def test_yes(name: str, axiom: str, w: Tensor, data: st.DataObject) -> None:
    assert holds(axiom, score_of(name), w, data)


@pytest.mark.parametrize("axiom", AXIOMS)
@settings(deadline=None, max_examples=150)
@given(w=weights(), p=st.floats(0.1, 1.0), q=st.floats(1.0, 4.0), data=st.data())
def test_pq_index_for_any_p_below_and_q_above_one(axiom: str, w: Tensor, p: float, q: float, data: object) -> None:
    assume(q - p >= 0.05)
    # The logarithm of 1 - I keeps the digits that I itself loses when it is within 1e-16 of 1.
    assert holds(axiom, lambda x: -power_sums(x, p=p, q=q).log_ratio.item(), w, data)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(w=weights(), p=st.floats(0.1, 3.0), gap=st.floats(0.05, 3.0))
def test_a_further_zero_changes_the_pq_index_by_a_known_factor(w: Tensor, p: float, gap: float) -> None:
    q, d = p + gap, len(w)
    before, after = (power_sums(x, p=p, q=q).log_ratio.item() for x in (w, torch.cat([w, w.new_zeros(1)])))
    expected = before + (1 / p - 1 / q) * torch.log(torch.tensor(d / (d + 1), dtype=torch.float64)).item()
    assert after == pytest.approx(expected, rel=1e-12, abs=1e-12)


def richer_at_some_size(score: Score, w: Tensor) -> bool:
    """Whether growing by 1 raises the score at any of many sizes of the first entry."""
    return any(bill_gates(score, w, 0, 10.0**k, 1.0) for k in range(-2, 9))


COUNTEREXAMPLES: dict[tuple[str, str], Callable[[Score], bool]] = {
    # Robin Hood
    ("kurtosis", "D1"): lambda s: robin_hood(s, vector([1.0, 0.1, 0.05]), 1, 2, 0.4),
    ("l0", "D1"): lambda s: robin_hood(s, vector([2.0, 1.0]), 0, 1, 0.2),
    ("l0_epsilon", "D1"): lambda s: robin_hood(s, vector([2.0, 1.0]), 0, 1, 0.2),
    ("neg_l1", "D1"): lambda s: robin_hood(s, vector([2.0, 1.0]), 0, 1, 0.25),
    ("neg_log", "D1"): lambda s: robin_hood(s, vector([0.2, 0.0]), 0, 1, 0.4),
    # Scaling
    ("l0_epsilon", "D2"): lambda s: scaling(s, vector([8e-4, 1.0]), 2.0),
    ("neg_l1", "D2"): lambda s: scaling(s, vector([1.0, 2.0]), 2.0),
    ("neg_lp", "D2"): lambda s: scaling(s, vector([1.0, 2.0]), 2.0),
    ("neg_tanh", "D2"): lambda s: scaling(s, vector([1.0, 2.0]), 2.0),
    ("neg_log", "D2"): lambda s: scaling(s, vector([1.0, 2.0]), 2.0),
    # Rising Tide
    ("l0", "D3"): lambda s: rising_tide(s, vector([1.0, 2.0]), 1.0),
    ("l0_epsilon", "D3"): lambda s: rising_tide(s, vector([1.0, 2.0]), 1.0),
    # Cloning
    ("hoyer", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("l2_over_l1", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("neg_shannon", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("neg_l1", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("neg_lp", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("neg_tanh", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    ("neg_log", "D4"): lambda s: cloning(s, vector([1.0, 2.0]), 2),
    # Bill Gates
    ("l0", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    ("l0_epsilon", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    ("neg_l1", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    ("neg_lp", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    ("neg_tanh", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    ("neg_log", "P1"): lambda s: richer_at_some_size(s, vector([1.0, 2.0])),
    # Babies
    ("hoyer", "P2"): lambda s: babies(s, vector([1.0, 0.0])),
    ("l2_over_l1", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
    ("neg_shannon", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
    ("l0_epsilon", "P2"): lambda s: babies(s, vector([5e-4, 5e-4])),
    ("neg_l1", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
    ("neg_lp", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
    ("neg_tanh", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
    ("neg_log", "P2"): lambda s: babies(s, vector([1.0, 2.0])),
}


def test_every_no_has_a_counterexample() -> None:
    assert set(COUNTEREXAMPLES) == NO


@pytest.mark.parametrize(("name", "axiom"), sorted(COUNTEREXAMPLES))
def test_no(name: str, axiom: str) -> None:
    assert not COUNTEREXAMPLES[name, axiom](score_of(name))


@pytest.mark.parametrize(
    ("p", "q", "before", "after"),
    [
        (2.0, 3.0, [1.0, 0.1, 0.05], [1.0, 0.08, 0.07]),
        (0.3, 0.6, [1.0, 0.8] + 100 * [1e-4], [0.95, 0.85] + 100 * [1e-4]),
    ],
)
def test_robin_hood_needs_p_below_and_q_above_one(p: float, q: float, before: list[float], after: list[float]) -> None:
    assert sum(before) == pytest.approx(sum(after))
    assert power_sums(vector(after), p=p, q=q).pqi > power_sums(vector(before), p=p, q=q).pqi


def test_table_is_keyed_by_name_and_knows_the_axioms() -> None:
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.axioms <= set(AXIOMS)
        assert measure.formula

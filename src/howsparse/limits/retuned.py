"""The re-tuned limit: predicted by a race of short masked trainings, placed until they straddle the answer."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from howsparse.limits.extrapolation import Mark, Span, end_of, predict_kept

FIRST_GUESS = (0.13, 0.7)
"""Where the race begins: kept = 0.13 * kept_one_shot^0.7, a rule of thumb from small networks."""
FURTHEST = 2.5
"""Largest factor between one density and the next, and between the two that straddle the answer."""

CLOSE = 1.1
"""Factor between two densities below which none is put in between."""

Race = Callable[[float, int], Sequence[Mark]]
"""``race(kept, epochs)``: the marks of the racer that keeps ``kept``, trained to the end of epoch ``epochs``."""


@dataclass(frozen=True)
class Terms:
    """What the race is about and what it may cost.

    Attributes:
        target: the loss to come back to: dense loss + ε.
        eps: admissible increase over the dense loss.
        steps: length of the retraining that is predicted, in optimizer steps.
        lap: epochs that a racer runs at first.
        budget: epochs that all racers may run together.
        densest: the kept fraction of the one-shot limit; nothing above it needs retraining.
        longest: epochs after which a racer has reached the end of the retraining that is predicted.
    """

    target: float
    eps: float
    steps: int
    lap: int
    budget: int
    densest: float
    longest: int


@dataclass(frozen=True)
class Outcome:
    """What the race found.

    Attributes:
        kept: predicted kept fraction with its interval; None where the race could not say.
        straddled: whether one racer was predicted to reach the target and another to miss it.
        probes: marks of all racers by kept fraction.
        epochs: what all racers ran together.
        reaching: the kept fractions from which the target is predicted to be reached.
    """

    kept: Span | None
    straddled: bool
    probes: Mapping[float, tuple[Mark, ...]]
    epochs: int
    reaching: frozenset[float]


def hold_race(race: Race, terms: Terms) -> Outcome:
    """Run laps at one density after another until two straddle the target; then lengthen those two.

    The first density is a rule of thumb. Each next one lies where the probes so far see the answer, or beyond it while
    they are all on one side. At least two racers run, whatever the budget, and one more where lengthening shows that
    both lie on one side. No racer runs longer than what is predicted;
    effort beyond that goes into further densities between the two.

    Args:
        race: runs a racer and gives its marks.
        terms: target, lengths and budget.

    Returns:
        The `Outcome`.
    """
    probes: dict[float, tuple[Mark, ...]] = {}
    ran: dict[float, int] = {}
    kept: float | None = min(FIRST_GUESS[0] * terms.densest ** FIRST_GUESS[1], terms.densest)
    while kept is not None and (len(probes) < 2 or sum(ran.values()) + terms.lap <= terms.budget):
        probes[kept], ran[kept] = tuple(race(kept, terms.lap)), terms.lap
        kept = next_density(probes, terms)
    around = straddling(probes, terms)
    more = (terms.budget - sum(ran.values())) // 2
    for side in around or ():
        longer = min(ran[side] + more, terms.longest)
        if longer > ran[side]:
            ran[side] = longer
            probes[side] = tuple(race(side, longer))
    if around and straddling(probes, terms) is None and (kept := next_density(probes, terms)) is not None:
        # seen for longer, both lie on one side: one more racer, whatever the budget, or nothing could be said
        probes[kept], ran[kept] = tuple(race(kept, terms.lap)), terms.lap
    while (around := straddling(probes, terms)) is not None and _worth_halving(around, sum(ran.values()), terms):
        middle = math.sqrt(around[0] * around[1])
        probes[middle], ran[middle] = tuple(race(middle, terms.longest)), terms.longest
    found = predict_kept(probes, terms.target, terms.steps)
    if found is not None:  # what needs no retraining needs none
        found = Span(*(min(kept, terms.densest) for kept in (found.value, found.low, found.high)))
    reaching = frozenset(kept for kept in probes if end_of(probes[kept], terms.steps) <= terms.target)
    return Outcome(found, straddling(probes, terms) is not None, probes, sum(ran.values()), reaching)


def _worth_halving(around: tuple[float, float], spent: int, terms: Terms) -> bool:
    """Whether there is effort left for a racer of full length, and room for it."""
    return spent + terms.longest <= terms.budget and around[1] / around[0] > CLOSE


def straddling(probes: Mapping[float, Sequence[Mark]], terms: Terms) -> tuple[float, float] | None:
    """The two neighbouring densities between which the predicted end crosses the target, sparser first."""
    reaches = [(kept, end_of(probes[kept], terms.steps) <= terms.target) for kept in sorted(probes)]
    pairs = itertools.pairwise(reaches)
    found = [(a, b) for (a, a_reaches), (b, b_reaches) in pairs if b_reaches and not a_reaches]
    return found[-1] if found else None


def next_density(probes: Mapping[float, Sequence[Mark]], terms: Terms) -> float | None:
    """Where to look next, or None when the answer lies between two densities close enough."""
    around = straddling(probes, terms)
    if around is not None:
        return math.sqrt(around[0] * around[1]) if around[1] / around[0] > FURTHEST else None
    reaches = end_of(probes[min(probes)], terms.steps) <= terms.target
    edge = min(probes) if reaches else max(probes)
    # sqrt(excess loss) falls about like 1/kept; a quarter more, so that the next racer lies on the other side
    excess = end_of(probes[edge], terms.steps) - (terms.target - terms.eps)
    ratio = math.sqrt(max(excess / terms.eps, 1e-12))
    factor = max(ratio / 1.25, 1 / FURTHEST) if reaches else min(ratio * 1.25, FURTHEST)
    found = min(edge * factor, terms.densest)
    return None if found in probes else found

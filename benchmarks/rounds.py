"""Timing by rounds: every round runs all variants once, so that other work on the machine strikes all of them alike.

What is reported is the median over rounds of the ratio to the yardstick *of the same round*, with its 10th and 90th
percentile. Rounds start with another variant each time, so that none always follows the same neighbour.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """Variants that do comparable work; the first is the yardstick."""

    what: str
    variants: dict[str, Callable[[], object]]
    goals: dict[str, float] = field(default_factory=dict)  # largest ratio aimed at, by variant
    prepare: Callable[[], object] = lambda: None  # runs before every variant, outside the clock


def measure(case: Case, seconds: float, *, at_least: int = 7) -> Iterator[dict[str, Any]]:
    """Run rounds for about so many seconds; yields one row per variant."""
    one_round(case, 0)  # warm-up
    end = time.perf_counter() + seconds
    rounds: list[dict[str, float]] = []
    gc.disable()
    while len(rounds) < at_least or time.perf_counter() < end:
        rounds.append(one_round(case, len(rounds)))
    gc.enable()
    yardstick = next(iter(case.variants))
    for name in case.variants:
        low, middle, high = np.percentile([took[name] / took[yardstick] for took in rounds], [10, 50, 90])
        goal = case.goals.get(name)
        yield {
            "case": case.what,
            "variant": name,
            "milliseconds": 1e3 * float(np.median([took[name] for took in rounds])),
            "ratio": float(middle),
            "ratio_10": float(low),
            "ratio_90": float(high),
            "rounds": len(rounds),
            "goal": goal,
            "met": None if goal is None else bool(middle <= goal),
        }


def one_round(case: Case, number: int) -> dict[str, float]:
    """Seconds each variant took, once."""
    names = list(case.variants)
    start = number % len(names)
    took = {}
    for name in names[start:] + names[:start]:
        case.prepare()
        begun = time.perf_counter()
        case.variants[name]()
        took[name] = time.perf_counter() - begun
    return took

"""Timing by rounds: every round runs all variants once, so that other work on the machine strikes all of them alike.

What is reported is the median over rounds of the ratio to the yardstick *of the same round*: of wall time, with its
10th and 90th percentile and a 95 % interval for the median, and of processor time, which waiting for a busy processor
does not lengthen. Rounds start with another variant each time, so that none always follows the same neighbour.
"""

import gc
import math
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
    effort: float = 1.0  # factor on the time it is given


def measure(case: Case, seconds: float, *, at_least: int = 5) -> Iterator[dict[str, Any]]:
    """Run rounds for about so many seconds; yields one row per variant."""
    one_round(case, 0)  # warm-up
    end = time.perf_counter() + seconds * case.effort
    rounds = []
    gc.disable()
    while len(rounds) < at_least or time.perf_counter() < end:
        rounds.append(one_round(case, len(rounds)))
    gc.enable()
    times = np.array(rounds)  # (rounds, variants, [wall, processor])
    ratios = times / times[:, :1]
    for i, name in enumerate(case.variants):
        low, high = interval_of_median(ratios[:, i, 0])
        goal = case.goals.get(name)
        yield {
            "case": case.what,
            "variant": name,
            "milliseconds": 1e3 * float(np.median(times[:, i, 0])),
            "ratio": float(np.median(ratios[:, i, 0])),
            "ratio_95": [low, high],
            "ratio_10_90": np.percentile(ratios[:, i, 0], [10, 90]).tolist(),
            "processor_ratio": float(np.median(ratios[:, i, 1])),
            "rounds": len(rounds),
            "goal": goal,
            "verdict": None if goal is None else "met" if high <= goal else "MISSED" if low > goal else "too noisy",
        }


def one_round(case: Case, number: int) -> list[tuple[float, float]]:
    """Seconds of wall and of processor time that each variant took, once."""
    names = list(case.variants)
    start = number % len(names)
    took = {}
    for name in names[start:] + names[:start]:
        case.prepare()
        wall, processor = time.perf_counter(), time.process_time()
        case.variants[name]()
        took[name] = (time.perf_counter() - wall, time.process_time() - processor)
    return [took[name] for name in names]


def interval_of_median(values: Any) -> tuple[float, float]:
    """95 % interval for the median, from order statistics: true for every distribution."""
    ordered, half = np.sort(values), len(values) / 2
    reach = 0.98 * math.sqrt(len(values))
    low, high = math.floor(half - reach), math.ceil(half + reach)
    return float(ordered[max(low, 0)]), float(ordered[min(high, len(values) - 1)])

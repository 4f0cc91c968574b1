"""From the pieces that were found to the one object that people, files and reports read."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from howsparse.limits.extrapolation import Mark, Span
from howsparse.limits.one_shot import crossing
from howsparse.limits.plan import FEWEST_STEPS, Plan
from howsparse.limits.retuned import Outcome
from howsparse.limits.settings import LimitSettings
from howsparse.limits.yardstick import HOPELESS
from howsparse.task import Metric

TOLERANCE = 0.005  # drop of the held-out metric that the accuracy limit allows
MISMATCH = 2.0  # factor between predicted and measured loss increase beyond which the local model is not trusted
NEGATIVE = 0.1  # share of negative curvature that deserves a warning
UNTRAINED = 0.98  # share of the best constant predictor's loss from which on a network has learnt nothing
LONGER = 1.1  # factor over the minutes asked for that deserves a warning
_DISTRUST = "is not to be trusted here, nor is the paper's formula, which rests on it"
_TRAINED = "limits belong to trained networks"


def compose(parts: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a search.

    Args:
        parts: ``eps``, ``plan``, ``settings``, ``one_shot``, ``empty``, ``checked``, ``flat``, and where they were
            computed ``race``, ``paper`` and ``hessian``.
        about: what the network, data and recipe are.

    Returns:
        JSON values; see docs/concepts/limits.md for every key.
    """
    eps, plan, one_shot = parts["eps"], parts["plan"], parts["one_shot"]
    race, paper = parts.get("race"), parts.get("paper")
    return {
        "one_shot": {
            "measured": one_shot.measured,
            "low": one_shot.low,
            "high": one_shot.high,
            "quadratic": quadratic_limit(parts["checked"], eps.value),
            "points": [[s, rise if math.isfinite(rise) else None, error] for s, rise, error in one_shot.points],
            "checked": parts["checked"],
        },
        "paper": paper,
        "retuned": None if race is None else retuned(race["outcome"], about["recipe"]),
        "accuracy": None if race is None else race["metric"],
        "trace_bound": None if paper is None else paper["trace_bound"],
        "eps": eps.value,
        "eps_rule": f"{eps.rule}: {eps.detail}",
        "hessian": parts.get("hessian"),
        "verified": None,
        "cost": {"planned": plan.epochs, "epochs": None, "seconds": None},
        "warnings": warnings(parts, about),
        **about,
    }


def raised(plan: Plan) -> str:
    """Why a race takes more epochs than were asked for.

    Args:
        plan: with the race as it will be.

    Returns:
        A phrase.
    """
    laps = f"three laps of {plan.lap} epoch{'' if plan.lap == 1 else 's'}"
    return f"{laps} are the least that a race needs here"


def quadratic_limit(checked: Sequence[Sequence[float]], eps: float) -> float | None:
    """The one-shot limit that gᵀd + ½ dᵀHd predicts; None where it lies far from what was evaluated."""
    return crossing([row[0] for row in checked], [row[1] + row[2] for row in checked], eps)


def retuned(outcome: Outcome, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The race's answer as sparsities; without a value, the side on which the answer lies."""
    probes = [
        {"sparsity": 1 - kept, "marks": [[m.steps, m.loss, m.metric] for m in marks]}
        for kept, marks in sorted(outcome.probes.items())
    ]
    found = {"method": "race", "recipe": dict(recipe), "epochs": outcome.epochs, "probes": probes}
    if outcome.kept is None:
        missing = set(outcome.probes) - outcome.reaching
        low = 1 - min(outcome.reaching) if outcome.reaching else 0.0
        high = 1 - max(missing) if missing else 1.0
        return {"value": None, "low": low, "high": high, "straddled": False, **found}
    span = Span(1 - outcome.kept.value, 1 - outcome.kept.high, 1 - outcome.kept.low)
    return {"value": span.value, "low": span.low, "high": span.high, "straddled": outcome.straddled, **found}


def metric_limit(probes: Mapping[float, Sequence[Mark]], dense: float, metric: Metric) -> dict[str, Any]:
    """The sparsity up to which racers' averages keep the held-out metric, without waiting for the whole retraining.

    Interpolated linearly in ln(kept) between racers; longer retraining reaches further, so this errs on the dense side.

    Args:
        probes: marks by kept fraction; the last mark of each holds the metric.
        dense: the dense network's held-out metric.
        metric: its direction; half a point of accuracy may be lost, or half a percent of another metric.

    Returns:
        JSON values: ``dense``, ``higher_is_better``, ``tolerance``, ``value`` (a sparsity or None) and ``points``
        (pairs of sparsity and metric).

    Example:
        >>> from howsparse.task import accuracy
        >>> marks = {0.1: [Mark(1, 0.0, 0.90)], 0.2: [Mark(1, 0.0, 0.92)]}
        >>> round(metric_limit(marks, 0.915, accuracy())["value"], 3)
        0.859
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    tolerance = TOLERANCE if metric.name == "accuracy" else TOLERANCE * abs(dense)
    points = sorted((kept, float(marks[-1].metric)) for kept, marks in probes.items() if marks[-1].metric is not None)
    surplus = [(math.log(kept), sign * (value - dense) + tolerance) for kept, value in points]
    value = None
    for (x0, y0), (x1, y1) in itertools.pairwise(surplus):
        if y0 < 0 <= y1:
            value = 1 - math.exp(x0 - y0 * (x1 - x0) / (y1 - y0))
    return {
        "dense": dense,
        "higher_is_better": metric.higher_is_better,
        "tolerance": tolerance,
        "value": value,
        "points": [[1 - kept, found] for kept, found in points],
    }


def warnings(parts: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """Reasons not to trust parts of the answer."""
    race, one_shot = parts.get("race"), parts["one_shot"]
    found = [*_about_learning(parts, about["loss"]), *_about_efforts(parts), *_about_paper(parts.get("paper"), about)]
    if parts["flat"]:
        found.append(
            "the loss has no second derivative here (or no parameter wants gradients): no curvature, no paper's limit"
        )
    if race is not None:
        found += _about_race(race["outcome"])
    elif one_shot.measured == 0 and parts["plan"].race:
        found.append(
            "not one weight can go within eps without retraining, so the race for the re-tuned limit was not held"
        )
    return found


def _about_learning(parts: Mapping[str, Any], loss: Mapping[str, Any]) -> list[str]:
    """Whether this is a trained network near a minimum, and eps small beside what it has learnt: one doubt, once."""
    eps, empty, constant = parts["eps"].value, parts["empty"], loss["constant"]
    untrained = ""
    if constant is not None and loss["compared"] >= UNTRAINED * constant:
        untrained = (
            f"the training loss, {loss['compared']:.4g}, is no better than that of a constant predictor "
            f"({constant:.4g}): {_TRAINED}"
        )
    if parts["one_shot"].measured == 1:
        gone = "all weights can go within eps: they are zero, or eps is larger than what the network has learnt"
        return [f"{gone}; {untrained}" if untrained else gone]
    if untrained:
        return [untrained]
    found = _about_minimum(parts, learnt=constant is not None)
    if eps < empty < 2 * eps:
        cost = f"eps {eps:.3g} is more than half of what removing every weight costs ({empty:.3g})"
        found.append(f"{cost}: a constant predictor nearly passes, so the limits mean little")
    return found


def _about_minimum(parts: Mapping[str, Any], *, learnt: bool) -> list[str]:
    """Whether slope, curvature and measurement are those of a minimum with a quadratic loss around it."""
    eps, one_shot, hessian = parts["eps"].value, parts["one_shot"], parts.get("hessian")
    signs, slope, rise = [], False, ""
    if parts["checked"] and 0 < one_shot.measured < 1:
        _, first, second = min(parts["checked"], key=lambda row: abs(row[0] - one_shot.measured))
        slope = abs(first) > 0.5 * eps
        if slope:
            signs.append(f"the slope along pruning alone gives {first:+.2g} at the one-shot limit, eps is {eps:.2g}")
        if not 1 / MISMATCH < max(first + second, 1e-30) / eps < MISMATCH:
            rise = f"the quadratic model predicts an increase of {first + second:.2g} where {eps:.2g} is measured"
    if hessian is not None and hessian["negative_mass"] > NEGATIVE:
        on = f"on {hessian['samples']:,} samples"
        signs.append(f"{100 * hessian['negative_mass']:.0f} % of the Hessian's mass {on} is negative")
    if signs:
        also = "; ".join([*signs, rise] if rise else signs)
        doubt = f", and that model {_DISTRUST}" if rise else ""
        why = "" if learnt else f"; is it trained? {_TRAINED}"
        if learnt and slope:
            why = "; an L1 or L2 penalty in training does that"
        return [f"the network is not at a minimum of this loss ({also}){doubt}{why}"]
    return [f"{rise}: it {_DISTRUST}"] if rise else []


def _about_efforts(parts: Mapping[str, Any]) -> list[str]:
    """Where more is done than was asked for."""
    plan, settings = parts["plan"], parts["settings"]
    if settings.minutes is not None and plan.seconds > LONGER * 60 * settings.minutes:
        least = f"the least that says anything took about {plan.seconds / 60:.2g}"
        return [f"{settings.minutes:g} minutes were asked for; {least}"]
    asked = settings.race_epochs
    if settings.minutes is None and 0 < asked < plan.race and asked != LimitSettings().race_epochs:
        return [f"race_epochs = {asked} was raised to {plan.race}: {raised(plan)}"]
    return []


def _about_paper(paper: Mapping[str, Any] | None, about: Mapping[str, Any]) -> list[str]:
    if paper is not None and not paper["certified"]:
        drawn = f"{paper['samples']:,} samples drawn at random, without a bound on the others"
        return [f"the paper's limit comes from {drawn}: what they do not show counts as flat, so it is optimistic"]
    if paper is None or paper["high"] - paper["low"] <= 0.5 * (1 - paper["value"]):
        return []
    taken = (
        f"its curvature was taken from {paper['samples']:,} of {about['samples']['train']:,} samples"
        if paper["samples"] < about["samples"]["train"]
        else "its spectrum has not converged"
    )
    span = f"[{paper['low']:.3f}, {paper['high']:.3f}]"
    return [f"the paper's limit is known only to {span}: {taken}; --minutes buys more"]


def _about_race(outcome: Outcome) -> list[str]:
    diverged = sum(marks[-1].loss >= HOPELESS for marks in outcome.probes.values())
    if diverged:
        who = f"{diverged} of {len(outcome.probes)} racers diverged at the recipe's highest learning rate"
        return [f"{who}, which they hold constant; what is said of the re-tuned limit rests on the others"]
    if outcome.kept is None:
        return ["the race did not find the re-tuned limit; give it more epochs (--race-epochs)"]
    last = min(marks[-1].steps for marks in outcome.probes.values())
    if last < FEWEST_STEPS:
        few = f"a racer ran only {last} optimizer steps; below {FEWEST_STEPS} its word on the re-tuned limit is not"
        return [f"{few} to be relied on (--race-epochs)"]
    if not outcome.straddled:
        return ["the re-tuned limit lies outside the densities tried; give the race more epochs (--race-epochs)"]
    return []

"""The words and tables of a limit's page: three numbers, facts, layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from howsparse.report.limit_reading import Interval, Kind, LimitFiles
from howsparse.report.reading import Record
from howsparse.report.tables import percent
from howsparse.report.wording import count, duration, number

_LABELS: Mapping[Kind, tuple[str, str, str]] = MappingProxyType(
    {
        "one-shot": ("One-shot limit", "one-shot", "measured"),
        "re-tuned": ("Re-tuned limit", "re-tuned", "predicted"),
        "paper": ("Paper's formula", "paper's formula", "theory"),
    }
)


@dataclass(frozen=True)
class LimitCell:
    """One of the three numbers."""

    kind: Kind
    label: str
    name: str  # in keys of plots
    origin: str  # measured, predicted or theory
    value: str
    interval: str
    meaning: str
    drawn: bool  # whether it has a value, and so a place in plots
    check: str  # what full retrainings said of it; may be empty


@dataclass(frozen=True)
class Fact:
    """One line of the table of facts."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class LayerShare:
    """One layer's part; widths of bars are CSS percentages."""

    name: str
    size: str
    kept: str
    kept_percent: str
    norm: str
    norm_percent: str
    sharpness: str  # empty where it was not computed
    sharpness_percent: str


def decimals(high: float) -> int:
    """Decimals that tell a sparsity from 1: three, and more for those very near to it.

    Example:
        >>> decimals(0.5), decimals(0.9985), decimals(0.99975), decimals(1.0)
        (3, 4, 5, 3)
    """
    return 3 if high >= 1 else max(3, math.ceil(-math.log10(1 - high)) + 1)


def cells(limit: LimitFiles) -> list[LimitCell]:
    """The limits that are known, each with what it means.

    Args:
        limit: the limit.

    Returns:
        Up to three.
    """
    return [_cell(limit, interval) for interval in limit.intervals]


def _cell(limit: LimitFiles, interval: Interval) -> LimitCell:
    label, name, origin = _LABELS[interval.kind]
    digits = decimals(interval.high)
    known = interval.value is not None
    return LimitCell(
        kind=interval.kind,
        label=label,
        name=name,
        origin=origin,
        value=f"{interval.value:.{digits}f}" if known else _side(interval, digits),
        interval=f"{interval.low:.{digits}f} to {interval.high:.{digits}f}" if known else "the race could not say more",
        meaning=_meaning(limit, interval),
        drawn=known,
        check=_check(limit.details) if interval.kind == "re-tuned" else "",
    )


def _side(interval: Interval, digits: int) -> str:
    """Where a limit lies of which only the side is known."""
    if interval.low <= 0:
        return f"below {interval.high:.{digits}f}"
    return f"above {interval.low:.{digits}f}" if interval.high >= 1 else "between"


def _meaning(limit: LimitFiles, interval: Interval) -> str:
    if interval.kind == "one-shot":
        return (
            "Up to here, removing the smallest weights without any retraining keeps the training loss within ε of the "
            "dense network's."
        )
    if interval.kind == "paper":
        return (
            "Up to here, the width formula of arXiv 2306.05857 expects weights within ε to exist among those that "
            "stay; computed from the loss's curvature at the dense network, without trying."
        )
    retraining = f"retraining the weights that stay ({recipe(limit.details['recipe'])})"
    racers = count(len(limit.details["retuned"]["probes"]), "short training")
    if interval.value is None:
        return f"How far {retraining} brings the training loss back within ε could not be told from {racers}."
    return f"Up to here, {retraining} should bring the training loss back within ε; predicted from {racers}."


def recipe(settings: Record) -> str:
    """A recipe in a few words.

    Example:
        >>> recipe({"epochs": 1, "optimizer": "sgd", "lr": 0.05, "schedule": "cosine"})
        '1 epoch of sgd, learning rate 0.05, cosine'
    """
    epochs = count(settings["epochs"], "epoch")
    return f"{epochs} of {settings['optimizer']}, learning rate {settings['lr']:g}, {settings['schedule']}"


def _check(details: Record) -> str:
    """What the full retrainings say of the prediction."""
    verified = details["verified"]
    if verified is None or not verified["points"]:
        return ""
    runs, span = count(len(verified["points"]), "full retraining"), verified["retuned"]
    if span is None:
        return f"{runs} afterwards: {_one_sided(verified['points'], details['loss']['compared'] + details['eps'])}."
    digits, predicted = decimals(span["high"]), details["retuned"]
    value, low, high = (f"{span[key]:.{digits}f}" for key in ("value", "low", "high"))
    inside = "inside" if predicted["low"] <= span["value"] <= predicted["high"] else "outside"
    return f"Measured afterwards by {runs}: {value} ({low} to {high}), {inside} the predicted interval."


def _one_sided(points: Sequence[Record], target: float) -> str:
    """What retrainings say that do not enclose the limit."""
    reached = max((1 - p["kept"] for p in points if p["loss"] <= target), default=None)
    missed = min((1 - p["kept"] for p in points if p["loss"] > target), default=None)
    if missed is None and reached is not None:
        return f"the loss came back up to {reached:.{decimals(reached)}f}, the sparsest tried"
    if reached is None and missed is not None:
        return f"the loss did not come back even at {missed:.{decimals(missed)}f}, the densest tried"
    return "the loss came back at some sparsities and not at smaller ones"


def story(limit: LimitFiles) -> str:
    """What was found, in a sentence or two.

    Args:
        limit: the limit, finished or not.

    Returns:
        Plain text.
    """
    details = limit.details
    if not limit.finished:
        return _standing(limit)
    text = (
        f"{details['task']} has {count(details['weights'])} prunable weights and a training loss of "
        f"{number(details['loss']['compared'])}. {_removable(details)}"
    )
    retuned = details["retuned"]
    if retuned is None or retuned["value"] is None:
        return text
    return f"{text} With retraining it should be about {100 * retuned['value']:.1f} %."


def _removable(details: Record) -> str:
    share, within = details["one_shot"]["measured"], f"the loss rises by more than ε = {details['eps']:.3g}"
    if share == 0:
        return f"Not a single one can be removed before {within}."
    if share == 1:
        return f"All of them can be removed, and still the loss rises by no more than ε = {details['eps']:.3g}."
    removed = count(round(share * details["weights"]))
    return f"The {removed} smallest ones ({100 * share:.1f} %) can be removed as they are before {within}."


def _standing(limit: LimitFiles) -> str:
    """Where an unfinished computation stands."""
    keys = list(limit.notes)
    passes = sum(key.startswith("one-shot ") for key in keys)
    laps = sum(key.startswith("race ") for key in keys)
    done = ["ε is known"] if "eps" in keys else []
    done += [f"{count(passes, 'pruned network')} measured"] if passes else []
    done += [f"{count(laps, 'training')} of the race run"] if laps else []
    done += ["the curvature computed"] if "paper" in keys else []
    so_far = f": {', '.join(done)} so far" if done else ""
    return f"This limit is not finished{so_far}. The same command goes on from there."


def facts(limit: LimitFiles) -> list[Fact]:
    """Everything that went into the numbers or came with them.

    Args:
        limit: the limit.

    Returns:
        Lines; none for what was not computed.
    """
    details = limit.details
    if not limit.finished:
        return []
    return [*_loss_facts(details), *_hessian_facts(details), *_paper_facts(limit), *_race_facts(details), *_cost(limit)]


def _loss_facts(details: Record) -> list[Fact]:
    rule, _, detail = details["eps_rule"].partition(": ")
    samples, loss, one_shot = details["samples"], details["loss"], details["one_shot"]
    found = [
        Fact("ε, the allowed rise of the training loss", f"{details['eps']:.4g}", f"{rule}: {detail}"),
        Fact(
            "Dense network's training loss",
            number(loss["train"]),
            f"{number(loss['compared'])} on the {count(samples['compared'])} of {count(samples['train'])} samples on "
            "which losses are compared",
        ),
    ]
    empty = next((rise for s, rise, _ in one_shot["points"] if s == 1), None)
    if empty is not None:
        found.append(Fact("Rise when every weight is removed", number(empty), f"{empty / details['eps']:,.4g} ε"))
    if one_shot["quadratic"] is not None:
        note = "gᵀd + ½ dᵀHd in place of measured losses"
        found.append(Fact("One-shot limit by the quadratic model", f"{one_shot['quadratic']:.3f}", note))
    return found


def _hessian_facts(details: Record) -> list[Fact]:
    hessian = details["hessian"]
    if hessian is None:
        return []
    on = f"on {count(hessian['samples'], 'sample')}"
    share = f"{100 * hessian['negative_mass']:.1f} %"
    return [
        Fact("Largest eigenvalue of the Hessian, λ_max", number(hessian["largest"]), on),
        Fact("Negative mass of the Hessian", share, f"smallest eigenvalue {number(hessian['smallest'])}, {on}"),
    ]


def _paper_facts(limit: LimitFiles) -> list[Fact]:
    paper, details = limit.details["paper"], limit.details
    if paper is None:
        return []
    name = "Gauss-Newton matrix" if paper["curvature"] == "ggn" else "Hessian"
    share = paper["share"]
    chosen = "" if share is None else f"the least certain ones, with {100 * share:.0f} % of the outputs' uncertainty"
    rest = paper["rest"]["trace"]
    spectrum = paper["spectrum"]
    probes = count(len(spectrum["gauss"]), "random vector")
    found = [
        Fact(f"Trace of the {name}", number(paper["trace"]), f"{number(rest)} of it from the samples left out"),
        Fact("R, norm of the removed weights", number(paper["R"]), "at the paper's limit"),
        Fact("Paper's limit from the trace alone", f"{paper['trace_bound']:.3f}", "a lower bound of the formula"),
        Fact("Samples of the curvature", f"{count(paper['samples'])} of {count(details['samples']['train'])}", chosen),
        Fact("Probes of the spectrum", probes, f"{count(spectrum['steps'], 'Lanczos step')} each"),
    ]
    return found if rest else [Fact(found[0].label, found[0].value, ""), *found[1:]]


def _race_facts(details: Record) -> list[Fact]:
    retuned, accuracy = details["retuned"], details["accuracy"]
    found = []
    if retuned is not None:
        sparsities = count(len(retuned["probes"]))
        note = f"in all, of masked training at {sparsities} sparsities; the recipe has {retuned['recipe']['epochs']}"
        found.append(Fact("Race", count(retuned["epochs"], "epoch"), note))
    if accuracy is not None and accuracy["value"] is not None:
        dense = number(accuracy["dense"])
        note = f"within {accuracy['tolerance']:g} of the dense network's {dense}, by the race's averages"
        found.append(Fact(f"Held-out {details['metric']} kept up to", f"{accuracy['value']:.3f}", note))
    return found


def _cost(limit: LimitFiles) -> list[Fact]:
    cost, asked, plan = limit.details["cost"], limit.settings["settings"], limit.notes.get("plan")
    budget = (
        f"{asked['minutes']:g} minutes"
        if asked["minutes"] is not None
        else (f"{asked['race_epochs']} epochs of racing and {asked['curvature_epochs']:g} of curvature")
    )
    expected = "" if plan is None else f", expected {duration(plan['seconds'])}"
    spent = "unknown" if cost["seconds"] is None else duration(cost["seconds"])
    planned = f", {cost['planned']:.1f} planned" if "planned" in cost else ""
    note = f"asked for {budget}{expected}; about {cost['epochs']:.1f} gradients a training sample{planned}"
    return [Fact("Cost", spent, note)]


def doubling(limit: LimitFiles) -> float | None:
    """How far the paper's limit moves when ε doubles, read off its curve.

    Args:
        limit: the limit.

    Returns:
        A difference of sparsities; None where the formula was left out.
    """
    paper, eps = limit.details["paper"], limit.details["eps"]
    if paper is None:
        return None
    at, values = zip(*paper["curve"], strict=True)
    before, after = np.interp(np.log([eps, 2 * eps]), np.log(at), values)
    return float(after - before)


def flat(limit: LimitFiles) -> float | None:
    """The eigenvalue 2ε/R² that counts one half at the paper's limit; None where there is none.

    Args:
        limit: the limit.

    Returns:
        An eigenvalue of the curvature.
    """
    paper = limit.details["paper"]
    return None if paper is None or paper["R"] == 0 else float(2 * limit.details["eps"] / paper["R"] ** 2)


def layers(limit: LimitFiles) -> list[LayerShare]:
    """Which layers' magnitudes and whose sharpness set the paper's limit.

    Args:
        limit: the limit.

    Returns:
        One row a layer; none where the formula was left out.
    """
    paper = limit.details["paper"]
    return [] if paper is None else [_layer(row) for row in paper["layers"]]


def _layer(row: Record) -> LayerShare:
    kept, norm, sharpness = 1 - row["sparsity"], row["magnitude_share"], row["sharpness_share"]
    return LayerShare(
        name=row["name"],
        size=count(row["size"]),
        kept=f"{kept:.4f}",
        kept_percent=percent(kept),
        norm=f"{100 * norm:.1f} %",
        norm_percent=percent(norm),
        sharpness="" if sharpness is None else f"{100 * sharpness:.1f} %",
        sharpness_percent=percent(sharpness or 0.0),
    )

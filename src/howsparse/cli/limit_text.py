"""A limit in words and columns, at most a hundred characters wide."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from howsparse.cli.layout import WIDTH, columns, hung
from howsparse.cli.spectrum_text import NEAR_ZERO, UNSURE, trace_error
from howsparse.curvature import Spectrum
from howsparse.limits.result import Limit
from howsparse.report.wording import duration

_LAYERS = 5

Details = Mapping[str, Any]


def limit_text(limit: Limit) -> str:
    """Three answers that must not be confused, what stands beside them, and reasons for doubt.

    Args:
        limit: the result.

    Returns:
        Lines of at most `WIDTH` characters.
    """
    found = limit.details
    head = (
        f"{found['task']}, {found['weights']:,} prunable weights: fractions that can be removed while the training "
        "loss stays within eps of the dense network's"
    )
    parts = [textwrap.wrap(head, WIDTH), _answers(found), columns(_beside(found)), _layers(found), _doubts(found)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """A retraining by its settings that matter most.

    Args:
        recipe: as `Recipe.to_plain` gives it.

    Returns:
        A phrase.

    Example:
        >>> from howsparse import Recipe
        >>> recipe_words(Recipe(epochs=15, weight_decay=0.0).to_plain())
        '15 epochs of sgd, learning rate 0.05 (cosine), no weight decay, no L1'
    """
    penalties = [
        f"{name} {recipe[key]:g}" if recipe[key] else f"no {name}"
        for key, name in (("weight_decay", "weight decay"), ("l1", "L1"))
    ]
    epochs = f"{recipe['epochs']} epoch{'' if recipe['epochs'] == 1 else 's'} of {recipe['optimizer']}"
    return ", ".join([epochs, f"learning rate {recipe['lr']:g} ({recipe['schedule']})", *penalties])


# --- the answers ------------------------------------------------------------------------------------------------------
def _answers(found: Details) -> list[str]:
    one_shot = {**found["one_shot"], "value": found["one_shot"]["measured"]}
    answers = [
        ("one-shot limit", one_shot, "Measured: what can be removed at once, without retraining."),
        ("re-tuned limit", found["retuned"], _about_retuned(found)),
        *_verified(found),
        ("paper's limit", found["paper"], _about_paper(found)),
    ]
    digits = _digits([value["value"] for _, value, _ in answers if value is not None])
    spans = [_interval(value, digits) for _, value, _ in answers]
    wide = max(map(len, spans))
    return [
        line
        for (name, _, about), span in zip(answers, spans, strict=True)
        for line in hung(f"{name:<14}  {span:<{wide}}  ", about)
    ]


def _about_retuned(found: Details) -> str:
    retuned, recipe = found["retuned"], found["recipe"]
    if retuned is None and not recipe["epochs"]:
        return "Not predicted: a recipe of 0 epochs retrains nothing (--epochs)."
    if retuned is None:
        return f"Not predicted: {_without(found, 'race')}."
    words = recipe_words(recipe)
    if retuned["value"] is None:
        return f"Not found by the short trainings that were run for this recipe: {words}."
    return f"Predicted: what can be removed if the rest is then retrained by {words}."


def _without(found: Details, effort: str) -> str:
    """Why a limit was left out."""
    measured = found["one_shot"]["measured"]
    if measured >= 1:
        return "every weight can go at once"
    return "no weight can go at once" if measured <= 0 else f"not asked for (--{effort}-epochs 0)"


def _verified(found: Details) -> list[tuple[str, Details | None, str]]:
    verified = found["verified"]
    if verified is None:
        return []
    trainings = len(verified["points"])
    about = f"Measured, once that was predicted, by {trainings} full retraining{'' if trainings == 1 else 's'}"
    return [("  measured", verified["retuned"], f"{about}{'' if verified['retuned'] else _unbracketed(found)}.")]


def _unbracketed(found: Details) -> str:
    """Where the measured limit lies when no retraining is on its other side."""
    target, points = _target(found), found["verified"]["points"]
    sparsities = [1 - point["kept"] for point in points]
    within = [point["loss"] <= target for point in points]
    if all(within):
        return f", all within eps: it lies above {max(sparsities):.4f}"
    if not any(within):
        return f", all beyond eps: it lies below {min(sparsities):.4f}"
    return ", which do not enclose it"


def _target(found: Details) -> float:
    """The loss that retraining must come back to."""
    return float(found["loss"]["compared"] + found["eps"])


def _about_paper(found: Details) -> str:
    if found["paper"] is None:
        return f"Not computed: {_without(found, 'curvature')}."
    return (
        "Computed from weight magnitudes and curvature (arXiv 2306.05857): an order of magnitude, neither measured nor "
        "tied to any retraining."
    )


def _interval(value: Details | None, digits: int) -> str:
    if value is None:
        return "-"
    span = f"[{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    middle = "-" if value["value"] is None else f"{value['value']:.{digits}f}"
    return f"{middle:<{digits + 2}} {span}"


def _digits(values: Iterable[float | None]) -> int:
    """Decimals that leave two digits of the smallest fraction kept, three to six."""
    kept = [1 - value for value in values if value is not None and value < 1]
    return min(max(math.ceil(-math.log10(min(kept, default=1.0))) + 1, 3), 6)


# --- beside them ------------------------------------------------------------------------------------------------------
def _beside(found: Details) -> list[tuple[str, str, str]]:
    samples, loss = found["samples"], found["loss"]
    compared = f"; {loss['compared']:.4g} on the {samples['compared']:,} on which losses are compared"
    quadratic = found["one_shot"]["quadratic"]
    return [
        ("eps", f"{found['eps']:.4g}", f"allowed rise of the training loss, {found['eps_rule']}"),
        (
            "dense loss",
            f"{loss['train']:.4g}",
            f"on {samples['train']:,} training samples{compared if samples['compared'] < samples['train'] else ''}",
        ),
        *_retrained(found),
        (
            "quadratic model",
            "-" if quadratic is None else f"{quadratic:.4f}",
            "what the loss's slope and curvature say the one-shot limit is",
        ),
        *_metric(found),
        *_curvature(found),
        ("cost", f"{found['cost']['epochs']:.1f}", _cost(found)),
    ]


def _retrained(found: Details) -> list[tuple[str, str, str]]:
    """A row for every full retraining, sparsest first."""
    target = _target(found)
    points = [] if found["verified"] is None else found["verified"]["points"]
    return [
        (
            f"retrained {1 - point['kept']:.4f}",
            f"{point['loss']:.4g}",
            f"training loss, {'within' if point['loss'] <= target else 'beyond'} {target:.4g} (dense + eps)",
        )
        for point in sorted(points, key=lambda point: float(point["kept"]))
    ]


def _metric(found: Details) -> list[tuple[str, str, str]]:
    accuracy = found["accuracy"]
    if accuracy is None:
        return []
    value = "-" if accuracy["value"] is None else f"{accuracy['value']:.4f}"
    none = "; not among those tried" if accuracy["value"] is None else ""
    about = f"to which the race's short trainings keep held-out {found['metric']} within {accuracy['tolerance']:g}"
    return [(f"{found['metric']} limit"[:20], value, f"{about} of the dense {accuracy['dense']:.4f}{none}")]


def _curvature(found: Details) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    paper, hessian = found["paper"], found["hessian"]
    if paper is not None:
        spectrum = Spectrum.from_plain(paper["spectrum"])
        kind = "Gauss-Newton matrix" if paper["curvature"] == "ggn" else "Hessian"
        rows += [
            ("R", f"{paper['R']:.4g}", "norm of the weights removed at the paper's limit"),
            ("largest eigenvalue", f"{spectrum.largest:.4g}", f"of the {kind} of {_part(paper, found['samples'])}"),
            ("trace", f"{paper['trace']:.4g}", f"{_error(spectrum, paper['rest'])} of the {kind}, over all samples"),
            *_flat(spectrum),
        ]
    if hessian is not None:
        extremes = f"eigenvalues from {hessian['smallest']:.3g} to {hessian['largest']:.3g}"
        about = f"of the Hessian's |eigenvalues|, from {hessian['samples']:,} samples; {extremes}"
        rows.append(("negative mass", f"{hessian['negative_mass']:.3f}", about))
    if found["trace_bound"] is not None:
        about = "sparsity that the trace alone assures of the formula, not of any network"
        rows.append(("trace bound", f"{found['trace_bound']:.4f}", about))
    return rows


def _part(paper: Details, samples: Details) -> str:
    """The samples that the spectrum is of."""
    if paper["samples"] == samples["train"]:
        return f"all {samples['train']:,} samples"
    if paper["certified"]:
        return f"the least certain {paper['samples']:,} of {samples['train']:,} samples; all together bend more"
    return f"{paper['samples']:,} of {samples['train']:,} samples"


def _error(spectrum: Spectrum, rest: Details) -> str:
    if spectrum.probes == 1:
        return "from one probe,"
    error = math.hypot(trace_error(spectrum), (rest["upper"] - rest["trace"]) / 2)  # the upper end is two of them away
    return f"± {error:.2g} (standard error over {spectrum.probes} probes),"


def _flat(spectrum: Spectrum) -> list[tuple[str, str, str]]:
    """The share of directions without curvature, where the bracket says anything."""
    low, high = spectrum.null_share(NEAR_ZERO * spectrum.largest)
    if high - low > UNSURE:
        return []
    about = f"[{low:.3f}, {high:.3f}] of all: eigenvalues below {NEAR_ZERO:g} of the largest"
    return [("flat directions", f"{(low + high) / 2:.3f}", about)]


def _cost(found: Details) -> str:
    cost = found["cost"]
    planned = f" ({cost['planned']:.1f} planned)" if "planned" in cost else ""
    return f"gradients per training sample{planned}, {duration(cost['seconds'])}"


def _layers(found: Details) -> list[str]:
    """The layers that drive the paper's limit: most of what is removed, most of the curvature."""
    if found["paper"] is None:
        return []
    shares = [(row["magnitude_share"], row["sharpness_share"] or 0.0, row) for row in found["paper"]["layers"]]
    most = sorted(shares, key=lambda share: -max(share[:2]))[:_LAYERS]
    first = f"{'foremost layers' if len(shares) > _LAYERS else 'layers'} at the paper's limit"
    title = f"{first:<40} {'weights':>12}"
    lines = [f"{title} {'removed':>9} {'of R²':>8} {'of trace':>9}"]
    for magnitude, sharpness, row in most:
        name = row["name"] if len(row["name"]) <= 40 else row["name"][:39] + "…"
        lines.append(f"{name:<40} {row['size']:>12,} {row['sparsity']:>9.4f} {magnitude:>8.3f} {sharpness:>9.3f}")
    return lines


def _doubts(found: Details) -> list[str]:
    return [line for warning in found["warnings"] for line in hung("warning: ", warning)]

"""A limit of 1000 weights put together by hand, with numbers whose plots and words can be said in advance."""

from typing import Any

from howsparse.curvature import Spectrum
from howsparse.report import LimitFiles

RECIPE = {"epochs": 10, "optimizer": "sgd", "lr": 0.05, "schedule": "cosine", "steps_per_epoch": 100}


def settings() -> dict[str, Any]:
    return {
        "command": "limit",
        "settings": {"eps": "sample-std", "minutes": None, "race_epochs": 6, "curvature_epochs": 3.0},
        "recipe": {key: RECIPE[key] for key in ("epochs", "optimizer", "lr", "schedule")},
        "seed": 0,
        "include": None,
        "exclude": None,
        "task": {
            "name": "Net",
            "metric": "accuracy",
            "samples": {"train": 500, "val": 50, "test": None},
            "batch_size": 5,
            "parameters": {"fc.weight": [10, 100], "fc.bias": [10]},
        },
        "origin": {},
    }


def one_shot() -> dict[str, Any]:
    return {
        "measured": 0.5,
        "low": 0.45,
        "high": 0.55,
        "quadratic": 0.6,
        "points": [[0.25, -0.01, 0.001], [0.5, 0.1, 0.01], [0.75, 0.4, 0.02], [0.875, None, 0.0], [1.0, 2.0, 0.1]],
        "checked": [[0.4, 0.01, 0.03], [1.0, 0.02, 0.07]],
    }


def retuned() -> dict[str, Any]:
    """Two racers whose loss falls like 1/steps: a power law, so that one of both lines is exact."""
    probes = [
        {"sparsity": s, "marks": [[steps, c / steps, metric] for steps, metric in ((50, None), (71, None), (100, a))]}
        for s, c, a in ((0.75, 20.0, 0.9), (0.9, 200.0, 0.8))
    ]
    return {
        "value": 0.8,
        "low": 0.7,
        "high": 0.85,
        "straddled": True,
        "method": "race",
        "recipe": dict(RECIPE),
        "epochs": 2,
        "probes": probes,
    }


def paper() -> dict[str, Any]:
    """The curvature: 990 eigenvalues of zero, nine of one and one of two."""
    spectrum = Spectrum.of_eigenvalues([0.0] * 990 + [1.0] * 9 + [2.0])
    return {
        "value": 0.6,
        "low": 0.4,
        "high": 0.75,
        "R": 2.0,
        "width": 0.6,
        "trace": 11.0,
        "trace_bound": 0.3,
        "curve": [[0.025, 0.4], [0.05, 0.5], [0.1, 0.6], [0.2, 0.65], [0.4, 0.7]],
        "scaled": {"2": 0.5, "3": 0.4, "4": 0.3, "5": 0.25},
        "sensitivity": 0.1,
        "crossing": [[0.0, 0.0, 1.0, 1.0, 1.0], [2.0, 0.6, 0.4, 0.6, 0.8], [4.0, 1.0, 0.0, 0.2, 0.5]],
        "curvature": "ggn",
        "samples": 100,
        "share": 0.75,
        "certified": True,
        "rest": {"trace": 1.0, "upper": 1.5},
        "layers": [
            {"name": "fc.weight", "size": 900, "sparsity": 0.62, "magnitude_share": 0.7, "sharpness_share": 0.9},
            {"name": "out.weight", "size": 100, "sparsity": 0.42, "magnitude_share": 0.3, "sharpness_share": None},
        ],
        "spectrum": spectrum.to_plain(),
    }


def verified(*points: tuple[float, float], value: float | None = None) -> dict[str, Any]:
    """Full retrainings at (kept, loss); the target is a loss of 0.3."""
    span = None if value is None else {"value": value, "low": value - 0.01, "high": value + 0.01}
    rows = [{"kept": kept, "loss": loss, "val": 0.85, "test": None} for kept, loss in points]
    return {"retuned": span, "points": rows, "epochs": 10 * len(points)}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "one_shot": one_shot(),
        "paper": paper(),
        "retuned": retuned(),
        "accuracy": {
            "dense": 0.92,
            "tolerance": 0.005,
            "value": None,
            "points": [[0.9, 0.8], [0.75, 0.9]],
        },
        "trace_bound": 0.3,
        "eps": 0.1,
        "eps_rule": "sample-std: sigma 1 over 500 samples, batches of 128",
        "hessian": {"samples": 32, "largest": 2.5, "smallest": -0.5, "negative_mass": 0.05},
        "verified": None,
        "cost": {"epochs": 8.25, "seconds": 75.0},
        "warnings": ["the race is <b>short</b>"],
        "task": "Net",
        "weights": 1000,
        "samples": {"train": 500, "compared": 400},
        "loss": {"train": 0.25, "compared": 0.2},
        "metric": "accuracy",
        "recipe": dict(RECIPE),
        "histograms": {"limit": 0.5, "counts": [50, 200, 500, 200, 50]},
        **changes,
    }


def limit(**changes: Any) -> LimitFiles:
    """A finished limit; ``changes`` replace parts of its result."""
    notes = {"plan": {"epochs": 8.25, "seconds": 60.0}}
    return LimitFiles(settings(), {"howsparse": "0.0.1"}, notes, result(**changes))


def unfinished(**notes: Any) -> LimitFiles:
    """A limit in computation that knows ``notes``."""
    return LimitFiles(settings(), {"howsparse": "0.0.1"}, notes, None)


ALONE: dict[str, Any] = dict.fromkeys(("paper", "retuned", "accuracy", "trace_bound", "hessian"))
"""Changes that leave only the one-shot limit."""

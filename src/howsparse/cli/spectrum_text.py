"""Spectra as plain values and as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from howsparse.cli.layout import columns
from howsparse.curvature import Spectrum
from howsparse.limits.sharpness import resolved_negative_mass
from howsparse.task import Task

SCHEMA = "howsparse/spectrum/1"
NEAR_ZERO = 1e-3  # of the largest eigenvalue: what lies below counts as flat
UNSURE = 0.5  # width of a bracket of shares that says nothing
_EDGES = tuple(10.0**-k for k in range(1, 7))  # of the largest magnitude


def spectrum_plain(task: Task, curvature: str, found: Mapping[str | None, Spectrum]) -> dict[str, Any]:
    """Spectra as ``howsparse spectrum --json`` prints them.

    Args:
        task: whose they are.
        curvature: of which matrix.
        found: by layer; None for all weights together.

    Returns:
        JSON values.
    """
    first = next(iter(found.values()))
    return {
        "schema": SCHEMA,
        "task": task.name,
        "curvature": curvature,
        "samples": {"used": first.samples, "train": task.calib.samples if task.calib is not None else None},
        "probes": first.probes,
        "seed": first.seed,
        "spectra": [_portrait(layer, spectrum) for layer, spectrum in found.items()],
    }


def _portrait(layer: str | None, spectrum: Spectrum) -> dict[str, Any]:
    largest = max(abs(spectrum.largest), abs(spectrum.smallest))
    low, high = spectrum.null_share(NEAR_ZERO * largest)
    error = trace_error(spectrum)
    return {
        "layer": layer,
        "weights": spectrum.D,
        "steps": spectrum.steps,
        "largest": spectrum.largest,
        "smallest": spectrum.smallest,
        "trace": spectrum.trace,
        "trace_error": None if math.isnan(error) else error,
        "near_zero": {"threshold": NEAR_ZERO * largest, "low": low, "high": high},
        "negative_mass": None if spectrum.kind == "psd" else resolved_negative_mass(spectrum),
        "quantiles": [_quantile(spectrum, edge * largest) for edge in _EDGES],
        "spectrum": spectrum.to_plain(),
    }


def _quantile(spectrum: Spectrum, edge: float) -> dict[str, float]:
    """Which share of the eigenvalues has at most this magnitude, and which share of Σ|eigenvalue| it carries."""
    low, high = spectrum.null_share(edge)
    whole = float(spectrum.mean_of(np.abs).mean())
    below = float(spectrum.mean_of(lambda x: np.where(np.abs(x) <= edge, np.abs(x), 0.0)).mean())
    return {"magnitude": edge, "low": low, "high": high, "mass": below / whole if whole > 0 else 0.0}


def trace_error(spectrum: Spectrum) -> float:
    """Standard error of a spectrum's trace over its probes; NaN with a single one."""
    if spectrum.probes == 1:
        return math.nan
    return float(np.std(spectrum.traces, ddof=1)) / math.sqrt(spectrum.probes)


def spectrum_text(plain: Mapping[str, Any]) -> str:
    """Spectra in columns, at most a hundred characters wide.

    Args:
        plain: see `spectrum_plain`.

    Returns:
        Lines.
    """
    spectra, samples = plain["spectra"], plain["samples"]
    name = "Gauss-Newton matrix" if plain["curvature"] == "ggn" else "Hessian"
    part = samples["used"] != samples["train"] and samples["train"] is not None
    used = f"{samples['used']:,} of {samples['train']:,}" if part else f"all {samples['used']:,}"
    head = [
        f"{name} of {plain['task']}'s mean loss over {used} training samples",
        f"{plain['probes']} probes, {max(row['steps'] for row in spectra)} Lanczos steps",
    ]
    body = _layers(spectra) if len(spectra) > 1 else _single(spectra[0])
    note = ["", "The whole data set bends more directions, and each of them less (--samples)."] if part else []
    return "\n".join([*head, "", *body, *note])


def _single(row: Mapping[str, Any]) -> list[str]:
    near = row["near_zero"]
    error = "one probe has no error bar" if row["trace_error"] is None else f"± {row['trace_error']:.2g} standard error"
    rows = [
        ("weights", f"{row['weights']:,}", "all prunable ones" if row["layer"] is None else row["layer"]),
        ("largest eigenvalue", f"{row['largest']:.4g}", "the true one is not smaller"),
        ("smallest eigenvalue", f"{row['smallest']:.4g}", "the true one is not larger"),
        ("trace", f"{row['trace']:.4g}", error),
        ("near zero", *_bracket(near["low"], near["high"], f"of all: magnitude at most {near['threshold']:.2g}")),
    ]
    if row["negative_mass"] is not None:
        rows.append(("negative mass", f"{row['negative_mass']:.3f}", "of the sum of |eigenvalues|"))
    return [*columns(rows), "", *_quantiles(row["quantiles"])]


def _quantiles(quantiles: Sequence[Mapping[str, float]]) -> list[str]:
    """The cumulative spectrum, as far down as the brackets say anything."""
    lines = [f"{'magnitude at most':>18}   {'share of eigenvalues':<20}   {'of sum of magnitudes':>20}"]
    for found in quantiles:
        if found["high"] - found["low"] <= UNSURE:
            share = f"[{found['low']:.4f}, {found['high']:.4f}]"
            lines.append(f"{found['magnitude']:>18.3g}   {share:<20}   {found['mass']:>20.4f}")
    return lines if len(lines) > 1 else []


def _bracket(low: float, high: float, about: str) -> tuple[str, str]:
    if high - low > UNSURE:
        return "-", f"[{low:.3f}, {high:.3f}] {about}; more steps narrow it"
    return f"{(low + high) / 2:.3f}", f"[{low:.4f}, {high:.4f}] {about}"


def _layers(spectra: Sequence[Mapping[str, Any]]) -> list[str]:
    whole = sum(row["trace"] for row in spectra)
    wide = min(max(len(row["layer"]) for row in spectra), 32)
    lines = [f"{'layer':<{wide}} {'weights':>11} {'largest':>9} {'smallest':>9} {'trace':>18} {'of all':>7}  near zero"]
    for row in spectra:
        name = row["layer"] if len(row["layer"]) <= wide else "…" + row["layer"][1 - wide :]
        error = "" if row["trace_error"] is None else f" ± {row['trace_error']:.2g}"
        near = row["near_zero"]
        lines.append(
            f"{name:<{wide}} {row['weights']:>11,} {row['largest']:>9.3g} {row['smallest']:>9.2g} "
            f"{row['trace']:>9.4g}{error:<9} {row['trace'] / whole if whole else 0:>7.3f}  "
            f"[{near['low']:.2f}, {near['high']:.2f}]"
        )
    remark = f"near zero: share of a layer's eigenvalues below {NEAR_ZERO:g} of its largest in magnitude"
    return [*lines, "", remark]

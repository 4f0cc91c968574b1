"""What a limit took, counted from what it holds; the plan says what it was expected to take."""

from collections.abc import Mapping
from typing import Any

from howsparse.limits.plan import FORWARD, PRODUCT, REST

_CALIBRATION = 20  # forward passes that set eps by accuracy


def spent(found: Mapping[str, Any], *, deflate: int = 0) -> float:
    """Gradients per training sample that the pieces of a limit took, work done twice after a kill not counted.

    A forward pass counts as a third of a gradient, a product with the curvature as 2.5, which is its most.

    Args:
        found: a result.
        deflate: eigenvalues that were taken out of the spectrum.

    Returns:
        Epochs' worth of gradients.
    """
    samples = found["samples"]["train"]
    look: float = FORWARD * found["samples"]["compared"] / samples
    passes: int = 1 + len(found["one_shot"]["points"]) + _CALIBRATION * found["eps_rule"].startswith("calibrated")
    paper = _paper(found["paper"], samples, deflate)
    return FORWARD + look * passes + _quadratic(found) + _race(found, look) + paper + _verified(found, look)


def _quadratic(found: Mapping[str, Any]) -> float:
    """The gradient over all samples, products on a part of them, and the Hessian's extremes."""
    checked, hessian = len(found["one_shot"]["checked"]), found["hessian"]
    products = 1 + 0.1 * PRODUCT * checked if checked else 0.0
    return products + (0.0 if hessian is None else PRODUCT * 16 * hessian["samples"] / found["samples"]["train"])


def _race(found: Mapping[str, Any], look: float) -> float:
    race = found["retuned"]
    return 0.0 if race is None else float(race["epochs"] + look * sum(len(p["marks"]) for p in race["probes"]))


def _paper(paper: Mapping[str, Any] | None, samples: int, deflate: int) -> float:
    """The choice of samples, products for spectrum and layers on them, the trace of the others."""
    if paper is None:
        return 0.0
    share, spectrum = paper["samples"] / samples, paper["spectrum"]
    products = len(spectrum["gauss"]) * spectrum["steps"] + 3 * deflate + 2
    rest = REST * (1 - share) if paper["certified"] else 0.0
    return float(FORWARD + PRODUCT * share * products + rest)


def _verified(found: Mapping[str, Any], look: float) -> float:
    verified = found["verified"]
    return 0.0 if verified is None else float(len(verified["points"]) * (found["recipe"]["epochs"] + look))

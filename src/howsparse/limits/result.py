"""What `howsparse.limit` gives: three limits that must not be confused, and all that goes with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from howsparse.errors import HowsparseError
from howsparse.limits.extrapolation import Span
from howsparse.masks import Masks

SCHEMA = "howsparse/limit/1"


@dataclass(frozen=True)
class Survival:
    """What removing some weights, without retraining, is predicted and measured to do to the training loss.

    Attributes:
        sparsity: fraction removed.
        predicted: increase of the mean loss by the local quadratic model, gᵀd + ½ dᵀHd.
        measured: increase found by a forward pass.
        eps: the admissible increase.
        like: sparsity of global magnitude pruning with the same measured increase, to 0.002 (where its curve crosses
            that increase first); None where the loss did not rise, or rose by more than when every weight goes.
    """

    sparsity: float
    predicted: float
    measured: float
    eps: float
    like: float | None

    @property
    def survives(self) -> bool:
        """Whether the measured increase stays within ε."""
        return self.measured <= self.eps

    def __str__(self) -> str:
        verdict = "within" if self.survives else "beyond"
        like = "" if self.like is None else f"; like {self.like:.3f} of global magnitude pruning"
        return (
            f"sparsity {self.sparsity:.4f}: training loss +{self.measured:.4g} (predicted +{self.predicted:.4g}), "
            f"{verdict} eps {self.eps:.4g}{like}"
        )


class Limit:
    """How sparse a network can go. All limits are sparsities, fractions removed.

    Attributes:
        details: everything that was found, as ``result.json`` holds it.
    """

    def __init__(self, details: Mapping[str, Any], predictor: Callable[[Masks], Survival] | None = None) -> None:
        self.details = details
        self._predictor = predictor

    @property
    def one_shot(self) -> Span:
        """Largest sparsity of global magnitude pruning, without retraining, whose training loss stays within ε."""
        found = self.details["one_shot"]
        return Span(found["measured"], found["low"], found["high"])

    @property
    def paper(self) -> Span | None:
        """The width formula of arXiv 2306.05857; None when it was left out."""
        return _span(self.details["paper"])

    @property
    def retuned(self) -> Span | None:
        """Predicted sparsity from which the named recipe brings the training loss back; None when not known."""
        return _span(self.details["retuned"])

    @property
    def trace_bound(self) -> float | None:
        """The formula's lower bound from the trace alone."""
        found: float | None = self.details["trace_bound"]
        return found

    @property
    def eps(self) -> float:
        """Admissible increase of the mean training loss."""
        return float(self.details["eps"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to trust parts of the answer."""
        return tuple(self.details["warnings"])

    def predict(self, masks: Masks) -> Survival:
        """What these masks would do to the training loss, before anything is pruned.

        Args:
            masks: for the network the limit was computed on; its weights must be the dense ones.

        Returns:
            Prediction and measurement.

        Raises:
            HowsparseError: no masks, masks that do not fit the network, a network that is no longer the dense one, or
                this limit was read from a file and has no network.
        """
        if not isinstance(masks, Masks):
            raise HowsparseError(
                f"predict() was given a {type(masks).__name__}; it takes Masks, boolean tensors by parameter name, "
                "True for what lives: limit.predict(hs.Masks({'fc1.weight': keep, ...}))"
            )
        if self._predictor is None:
            raise HowsparseError(
                "this limit was read from a file; predict() needs the network and data: call hs.limit(task, ...) on "
                "the same directory, which returns at once"
            )
        return self._predictor(masks)

    def __str__(self) -> str:
        parts = [f"one-shot {self.one_shot.value:.3f} (measured)"]
        race = self.details["retuned"]
        if race is not None and self.retuned is None:
            parts.append(f"re-tuned not found, between {race['low']:.3f} and {race['high']:.3f}")
        if self.retuned is not None:
            parts.append(f"re-tuned {_text(self.retuned)} ({self.details['retuned']['method']})")
        if self.paper is not None:
            parts.append(f"paper's formula {_text(self.paper)}")
        if self.warnings:
            parts.append(f"{len(self.warnings)} warning{'s' if len(self.warnings) > 1 else ''}, see .warnings")
        return " · ".join(parts)

    def to_plain(self) -> dict[str, Any]:
        """The object that ``howsparse limit --json`` prints."""
        return {"schema": SCHEMA, **self.details}


def _span(found: Mapping[str, Any] | None) -> Span | None:
    if found is None or found["value"] is None:
        return None
    return Span(found["value"], found["low"], found["high"])


def _text(span: Span) -> str:
    digits = 3 if span.high < 0.99 else 4
    return f"{span.value:.{digits}f} [{span.low:.{digits}f}, {span.high:.{digits}f}]"

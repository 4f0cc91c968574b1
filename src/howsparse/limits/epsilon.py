"""ε, the admissible increase of the training loss, and the rules that set it."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from howsparse.errors import HowsparseError, near
from howsparse.limits.width import Numbers, finite

Rule: TypeAlias = Literal["sample-std", "batch-std", "absolute", "relative", "calibrated"]

FEWEST_SAMPLES = 16
LARGEST_BATCH = 128


@dataclass(frozen=True)
class Epsilon:
    """An admissible loss increase and where it comes from.

    Attributes:
        value: ε > 0.
        rule: the rule that set it.
        detail: the numbers that went into the rule, in words.

    Example:
        >>> print(absolute(0.01))
        0.01 (absolute: as given)
    """

    value: float
    rule: Rule
    detail: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise HowsparseError(
                f"the rule {self.rule} gives eps={self.value} ({self.detail}), but a loss increase must be positive; "
                "give one directly, such as eps=0.01"
            )

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.rule}: {self.detail})"


@dataclass(frozen=True)
class EpsilonRule:
    """A rule for ε before the losses are known, as given on a command line; see `parse_epsilon`.

    Attributes:
        rule: its name.
        amount: the loss increase (absolute), the fraction of the loss (relative), the drop in percentage points
            (calibrated), None for the other two.
    """

    rule: Rule
    amount: float | None = None


def sample_std(sample_losses: Numbers, *, batch: int | None = None) -> Epsilon:
    """ε from the spread of the samples' losses: the recommended rule.

    ε = σ · sqrt((n - B) / ((n - 1) B)), the exact standard deviation of the mean loss of a batch of B out of n samples
    drawn without replacement; σ is the population standard deviation. It is deterministic and does not depend on how
    the losses were batched when they were computed.

    Args:
        sample_losses: one loss per sample (image, patch, sequence), shape (n,) with n >= 16.
        batch: B, 1 <= B < n; min(128, n // 2) by default, 128 being the batch size of arXiv 2306.05857.

    Returns:
        The loss increase.

    Raises:
        HowsparseError: fewer than 16 samples, losses that are not finite or all equal, or a batch out of range.

    Source: sampling without replacement; the idea of a batch's spread as ε: Zhang et al., arXiv 2306.05857.

    Example:
        >>> sample_std([0.0, 2.0] * 8, batch=1).value  # a batch of one: σ itself
        1.0
        >>> round(sample_std([0.0, 2.0] * 8).value, 6)  # B = 8: sqrt(8 / (15 * 8))
        0.258199
    """
    losses = finite(sample_losses, "sample losses").reshape(-1)
    n = int(losses.size)
    if n < FEWEST_SAMPLES:
        raise HowsparseError(
            f"{n} samples are too few to estimate the spread of their losses; give at least {FEWEST_SAMPLES}, or an "
            "absolute loss increase such as 0.01"
        )
    B = min(LARGEST_BATCH, n // 2) if batch is None else batch
    if not 1 <= B < n:
        raise HowsparseError(f"batch={B}: a batch drawn from {n} samples has between 1 and {n - 1}")
    sigma = float(losses.std())
    value = sigma * math.sqrt((n - B) / ((n - 1) * B))
    return Epsilon(value, "sample-std", f"sigma {sigma:.4g} over {n} samples, batches of {B}")


def batch_std(batch_losses: Numbers) -> Epsilon:
    """ε as in the authors' code: the population standard deviation of the batches' mean losses.

    It depends on the batch size and counts a smaller last batch like the others. A constant penalty does not change it.

    Args:
        batch_losses: mean loss of each batch, shape (batches,), two or more; evaluation mode, fixed data.

    Returns:
        The loss increase.

    Raises:
        HowsparseError: fewer than two batches, or losses that are not finite or all equal.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> batch_std([1.0, 3.0]).value
        1.0
    """
    losses = finite(batch_losses, "batch losses").reshape(-1)
    if losses.size < 2:
        raise HowsparseError("one batch has no spread; give at least two, or use the rule sample-std")
    return Epsilon(float(losses.std()), "batch-std", f"{losses.size} batches")


def absolute(amount: float) -> Epsilon:
    """ε as given.

    Args:
        amount: the loss increase, > 0.

    Returns:
        The loss increase.

    Raises:
        HowsparseError: an amount that is not positive and finite.

    Example:
        >>> absolute(0.02).value
        0.02
    """
    return Epsilon(float(amount), "absolute", "as given")


def relative(fraction: float, loss: float) -> Epsilon:
    """ε as a fraction of the training loss: fraction · L(w*).

    Args:
        fraction: > 0, 0.05 for 5 %.
        loss: mean training loss of the trained network, > 0.

    Returns:
        The loss increase.

    Raises:
        HowsparseError: a product that is not positive and finite.

    Example:
        >>> relative(0.05, 2.0).value
        0.1
    """
    return Epsilon(fraction * float(loss), "relative", f"{100 * fraction:g}% of the loss {loss:.4g}")


def calibrated(losses: Numbers, accuracies: Numbers, drop: float) -> Epsilon:
    """ε as the loss increase at which held-out accuracy has dropped by a given amount.

    From the dense end, the first level with accuracy below the dense one by ``drop`` or more; between it and the
    level before, the loss is interpolated linearly in accuracy.

    Args:
        losses: mean training loss at each level of sparsity, the dense network first, shape (levels,).
        accuracies: held-out accuracy at the same levels, higher is better, in the unit of ``drop``.
        drop: > 0, such as 0.5 percentage points.

    Returns:
        The loss increase.

    Raises:
        HowsparseError: lists that do not fit, a drop that no level reaches, or a loss that had not risen by then.

    Source: calibration on held-out data, for this project.

    Example:
        >>> round(calibrated([0.1, 0.2, 0.4], [92.0, 91.8, 91.0], 0.6).value, 9)  # midway between levels 2 and 3
        0.2
    """
    rise, scores = finite(losses, "losses").reshape(-1), finite(accuracies, "accuracies").reshape(-1)
    if rise.size != scores.size or not (math.isfinite(drop) and drop > 0):
        raise HowsparseError(
            f"{rise.size} losses, {scores.size} accuracies, drop={drop}: give one loss and one accuracy for each "
            "level, and a positive drop"
        )
    lost = scores[0] - scores
    beyond = (lost >= drop).nonzero()[0]
    if beyond.size == 0:
        raise HowsparseError(
            f"accuracy drops by at most {lost.max():.4g}, never by {drop:g}: give levels of higher sparsity, "
            "or a smaller drop"
        )
    after = int(beyond[0])
    part = (drop - lost[after - 1]) / (lost[after] - lost[after - 1])
    value = float(rise[after - 1] + part * (rise[after] - rise[after - 1]) - rise[0])
    return Epsilon(value, "calibrated", f"loss increase where accuracy has dropped by {drop:g}")


def parse_epsilon(text: str) -> EpsilonRule:
    """Read a rule for ε as people write it.

    Args:
        text: ``sample-std``, ``batch-std``, a number such as ``0.01`` (absolute), a percentage such as ``5%`` (of the
            training loss), or ``accuracy:0.5`` (calibrated to a drop of that many percentage points).

    Returns:
        The rule.

    Raises:
        HowsparseError: anything else.

    Example:
        >>> parse_epsilon("5%")
        EpsilonRule(rule='relative', amount=0.05)
        >>> parse_epsilon("sample-std")
        EpsilonRule(rule='sample-std', amount=None)
    """
    name = text.strip().lower()
    if name == "sample-std":
        return EpsilonRule("sample-std")
    if name == "batch-std":
        return EpsilonRule("batch-std")
    if name.startswith("accuracy:"):
        return EpsilonRule("calibrated", _positive(name.removeprefix("accuracy:"), text))
    if name.endswith("%"):
        return EpsilonRule("relative", _positive(name.removesuffix("%"), text) / 100)
    return EpsilonRule("absolute", _positive(name, text))


def _positive(number: str, text: str) -> float:
    """A positive finite number, or what was meant instead."""
    try:
        value = float(number)
    except ValueError as error:
        hint = near(text.strip().lower(), ("sample-std", "batch-std"))
        raise HowsparseError(
            f"eps {text!r} is none of sample-std, batch-std, a loss increase such as 0.01, a percentage of the loss "
            f"such as 5%, or accuracy:0.5 (a drop in percentage points){hint}"
        ) from error
    if not (math.isfinite(value) and value > 0):
        raise HowsparseError(f"eps {text!r}: the number must be positive and finite, such as 0.01, 5% or accuracy:0.5")
    return value

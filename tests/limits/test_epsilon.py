"""ε against enumeration of all batches, and the reading of rules."""

import itertools
import math

import numpy as np
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.limits import (
    Epsilon,
    EpsilonRule,
    absolute,
    batch_std,
    calibrated,
    parse_epsilon,
    relative,
    sample_std,
)


@pytest.mark.parametrize("batch", [1, 2, 3, 15])
def test_sample_std_is_the_spread_over_all_batches(batch: int) -> None:
    losses = np.random.default_rng(0).exponential(size=16)
    means = [np.mean(chosen) for chosen in itertools.combinations(losses, batch)]
    assert sample_std(losses, batch=batch).value == pytest.approx(np.std(means), rel=1e-12)


def test_sample_std_by_default_draws_128_or_half() -> None:
    losses = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert sample_std(losses) == sample_std(losses.double().numpy(), batch=128)
    assert sample_std(losses[:100]) == sample_std(losses[:100], batch=50)
    found = sample_std(losses)
    sigma = float(losses.double().std(correction=0))
    assert found.value == pytest.approx(sigma * math.sqrt((1000 - 128) / (999 * 128)), rel=1e-12)
    assert str(found) == f"{found.value:.4g} (sample-std: sigma {sigma:.4g} over 1000 samples, batches of 128)"


def test_sample_std_does_not_depend_on_the_order() -> None:
    losses = np.random.default_rng(1).exponential(size=500)
    assert sample_std(losses[::-1]).value == pytest.approx(sample_std(losses).value, rel=1e-14)


def test_batch_std_counts_a_short_last_batch_like_the_others() -> None:
    assert batch_std([1.0, 2.0, 6.0]).value == pytest.approx(math.sqrt(14 / 3))
    assert batch_std([11.0, 12.0, 16.0]).value == pytest.approx(math.sqrt(14 / 3))  # a constant penalty


def test_absolute_and_relative() -> None:
    assert absolute(0.02).value == 0.02
    assert relative(0.05, 0.4).value == pytest.approx(0.02)


def test_calibrated_interpolates_between_the_levels_around_the_drop() -> None:
    losses, accuracies = [0.1, 0.15, 0.3, 0.7], [90.0, 90.2, 89.8, 89.0]
    assert calibrated(losses, accuracies, 0.2).value == pytest.approx(0.2)  # reached at the third level
    assert calibrated(losses, accuracies, 0.6).value == pytest.approx(0.4)  # midway between the last two
    assert calibrated(losses, accuracies, 1.0).value == pytest.approx(0.6)  # just reached at the last level
    assert calibrated(losses, accuracies, 0.1).value == pytest.approx(0.05 + 0.15 * 0.75)
    with pytest.raises(HowsparseError, match="at most 1, never by 1.5"):
        calibrated(losses, accuracies, 1.5)
    with pytest.raises(HowsparseError, match="must be positive"):
        calibrated([0.1, 0.05], [90.0, 80.0], 1.0)  # the loss had fallen


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_std([0.1] * 15), "15 samples are too few"),
        (lambda: sample_std([0.5] * 16), "must be positive"),
        (lambda: sample_std(np.arange(16.0), batch=16), "between 1 and 15"),
        (lambda: sample_std([0.1, math.nan] * 8), "8 of 16 sample losses are not finite"),
        (lambda: batch_std([0.3]), "at least two"),
        (lambda: absolute(0.0), "must be positive"),
        (lambda: absolute(math.inf), "must be positive"),
        (lambda: relative(0.05, 0.0), "must be positive"),
        (lambda: calibrated([0.1], [90.0, 80.0], 1.0), "one loss and one accuracy"),
        (lambda: calibrated([0.1, 0.2], [90.0, 80.0], 0.0), "positive drop"),
        (lambda: Epsilon(-1.0, "absolute", "as given"), "must be positive"),
    ],
)
def test_rules_refuse(call: object, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("sample-std", EpsilonRule("sample-std")),
        (" Batch-Std ", EpsilonRule("batch-std")),
        ("0.01", EpsilonRule("absolute", 0.01)),
        ("1e-3", EpsilonRule("absolute", 1e-3)),
        ("5%", EpsilonRule("relative", 0.05)),
        ("accuracy:0.5", EpsilonRule("calibrated", 0.5)),
    ],
)
def test_rules_are_read(text: str, rule: EpsilonRule) -> None:
    assert parse_epsilon(text) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample-st", r"accuracy:0.5 .*did you mean sample-std"),
        ("", "none of sample-std"),
        ("five%", "none of sample-std"),
        ("accuracy:", "none of sample-std"),
        ("-0.1", "positive and finite"),
        ("0%", "positive and finite"),
        ("nan", "positive and finite"),
        ("accuracy:inf", "positive and finite"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        parse_epsilon(text)

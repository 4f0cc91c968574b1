"""What is said to callers who give something else than is wanted."""

import pytest
import torch
from torch import nn

import howsparse as hs
from howsparse.errors import HowsparseError
from tests.limits.small_limit import CHEAP, make


@pytest.mark.parametrize("call", ["limit", "spectrum"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            nn.Linear(3, 2),
            r"was given the network Linear alone; it takes a Task.*\(hs.Task\(model, train=your_data\)\)",
        ),
        ("resnet20", r"was given 'resnet20' \(str\); it takes a Task"),
        (torch.zeros(99), r"it takes a Task"),
    ],
)
def test_something_else_than_a_task(call, given, message) -> None:
    with pytest.raises(HowsparseError, match=rf"^{call}\(\) {message}|{message}"):
        getattr(hs, call)(given)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [(10, r"recipe = 10 is not allowed.*hs.Recipe\(epochs=10\)"), ({"epochs": 3}, r"hs.Recipe\(epochs=12\)")],
)
def test_something_else_than_a_recipe(recipe, message) -> None:
    with pytest.raises(HowsparseError, match=message):
        hs.limit(make(), recipe, **CHEAP)


def test_something_else_than_a_directory(tmp_path) -> None:
    file = tmp_path / "answer.json"
    file.write_text("{}")
    with pytest.raises(HowsparseError, match=r"answer.json is a file.*answer-limit.*--json > "):
        hs.limit(make(), out=file, **CHEAP)
    with pytest.raises(HowsparseError, match=r"out = 3 is not allowed: it is the path of a directory"):
        hs.limit(make(), None, 3, **CHEAP)
    assert file.read_text() == "{}"


def test_something_else_than_masks() -> None:
    found = hs.limit(make(), **CHEAP)
    keep = {"0.weight": torch.ones(12, 16, dtype=torch.bool)}
    with pytest.raises(HowsparseError, match=r"given a dict; it takes Masks.*hs.Masks\("):
        found.predict(keep)


@pytest.mark.parametrize("name", ["samples", "probes", "steps"])
@pytest.mark.parametrize("count", ["many", 0, 1.5, True])
def test_something_else_than_counts(name, count) -> None:
    with pytest.raises(HowsparseError, match=rf"{name} = {count!r} is not allowed: it is a whole number, at least 1"):
        hs.spectrum(make(), **{name: count})


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        ("0", "; did you mean 0.weight?"),
        ("weight", "; did you mean 0.weight, 4.weight?"),
        ("nosuch", "0.weight, 4.weight$"),
    ],
)
def test_a_layer_that_is_not_there(layer, hint) -> None:
    with pytest.raises(HowsparseError, match=hint.replace("?", r"\?")):
        hs.spectrum(make(), layer=layer)

"""The stored reference vectors, made in 50-digit arithmetic."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from howsparse.measures import effective_count, gini, pqi, pqi_upper, retained_bound

FORMULAS = {
    "trig": lambda d: torch.arange(1, d + 1, dtype=torch.float64).sin(),
    "power": lambda d: torch.arange(1, d + 1, dtype=torch.float64).pow(-2),
}


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "data" / "reference" / "sap_vectors.json").read_text())


def value(number: float | None) -> float:
    return math.nan if number is None else number


def test_vectors(reference: dict[str, Any]) -> None:
    assert len(reference["vectors"]) == 12
    for case in reference["vectors"]:
        x = torch.tensor(case["x"], dtype=torch.float64)
        mask = None if case["mask"] is None else torch.tensor(case["mask"], dtype=torch.bool)
        assert gini(x, mask).item() == pytest.approx(value(case["gini"]), abs=1e-12, nan_ok=True), case["id"]
        for row in case["pqi"]:
            p, q, label = row["p"], row["q"], f"{case['id']} p={row['p']} q={row['q']}"
            assert pqi(x, mask, p=p, q=q).item() == pytest.approx(value(row["pqi"]), abs=1e-12, nan_ok=True), label
            count = effective_count(x, mask, p=p, q=q).item()
            assert count == pytest.approx(value(row["r_eta0"]), rel=1e-9, nan_ok=True), label
            if row["pqi"] is not None:
                assert pqi_upper(case["d"], p, q) == pytest.approx(row["upper"], abs=1e-12), label


def test_generated_vectors(reference: dict[str, Any]) -> None:
    assert {case["id"] for case in reference["generated_vectors"]} == set(FORMULAS)
    for case in reference["generated_vectors"]:
        x = FORMULAS[case["id"]](case["d"])
        for row in case["pqi"]:
            assert pqi(x, p=row["p"], q=row["q"]).item() == pytest.approx(row["pqi"], abs=1e-9)
            assert effective_count(x, p=row["p"], q=row["q"]).item() == pytest.approx(row["r_eta0"], rel=1e-9)


def group(case: dict[str, Any], name: str) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and masks of "global", a tensor, or "tensor#row"."""
    tensors, masks = [], []
    base, _, row = name.partition("#")
    for key, entry in case["params"].items():
        if entry["prunable"] and base in {"global", key}:
            x = torch.tensor(entry["data"], dtype=torch.float64).reshape(entry["shape"])
            mask = torch.tensor([bit == "1" for bit in entry["mask_in"]]).reshape(entry["shape"])
            tensors.append(x[int(row)] if row else x)
            masks.append(mask[int(row)] if row else mask)
    return tensors, masks


def test_groups_of_pruning_steps(reference: dict[str, Any]) -> None:
    seen = 0
    for case in reference["prune"]:
        for expected in case["groups"] if case["mode"] == "si" else []:
            weights = group(case, expected["group"])
            orders = {"p": case["p"], "q": case["q"]}
            index = pqi(*weights, **orders)
            assert index.item() == pytest.approx(value(expected["pqi"]), abs=1e-12, nan_ok=True)
            assert gini(*weights).item() == pytest.approx(value(expected["gini"]), abs=1e-12, nan_ok=True)
            bound = retained_bound(expected["d"], index.item(), **orders, eta=case["eta"])
            assert bound == pytest.approx(value(expected["r"]), rel=1e-9, nan_ok=True)
            seen += 1
    assert seen > 50

"""The card: its rows are the measures, its JSON is strict, its table is aligned."""

import json
import math
from collections.abc import Mapping
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.measures import NAME_RULE, effective_count, gini, hoyer, kurtosis, measure, pqi, weights_by_name


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    conv, fc = torch.randn(4, 3, 2, 2, generator=generator), 0.01 * torch.randn(5, 8, generator=generator)
    fc[1] = 0
    fc[2, :3] = 0
    return {"conv.weight": conv, "fc.weight": fc, "dead.weight": torch.zeros(2, 2)}


def test_rows_are_the_measures(tensors: dict[str, Tensor]) -> None:
    masks = {"conv.weight": tensors["conv.weight"] > 0}
    card = measure(tensors, masks, p=1.0, q=2.0)
    assert [row.name for row in card.layers] == list(tensors)
    groups = [([x], [masks.get(name)]) for name, x in tensors.items()]
    whole = (list(tensors.values()), [masks.get(name) for name in tensors])
    for row, (x, active) in zip((*card.layers, card.global_), (*groups, whole), strict=True):
        expected = {
            "pqi": pqi(x, active, p=1.0, q=2.0),
            "effective_count": effective_count(x, active, p=1.0, q=2.0),
            "gini": gini(x, active),
            "hoyer": hoyer(x, active),
            "kurtosis": kurtosis(x, active),
        }
        for key, value in expected.items():
            assert getattr(row, key) == pytest.approx(value.item(), rel=1e-12, nan_ok=True)
        assert row.keep_bound == pytest.approx(row.effective_count / row.d, nan_ok=True)
    conv = card.layers[0]
    active = int(masks["conv.weight"].sum())
    assert (conv.shape, conv.total, conv.d, conv.zeros) == ((4, 3, 2, 2), 48, active, 0)
    assert conv.sparsity == pytest.approx(1 - active / 48)
    assert (card.global_.total, card.global_.d, card.global_.zeros) == (92, active + 44, 15)
    assert card.global_.shape == ()


def test_global_index_is_that_of_all_weights_together(tensors: dict[str, Tensor]) -> None:
    together = torch.cat([x.double().flatten() for x in tensors.values()])
    assert measure(tensors).global_.pqi == pytest.approx(pqi(together).item(), abs=1e-13)
    assert measure(tensors).global_.gini == pytest.approx(gini(together).item(), abs=1e-13)


def test_zeros_can_be_left_out(tensors: dict[str, Tensor]) -> None:
    masks = {"fc.weight": torch.ones(5, 8, dtype=torch.bool)}
    masks["fc.weight"][4] = False
    row = measure(tensors, masks, zeros="masked").layers[1]
    assert (row.total, row.d, row.zeros) == (40, 40 - 8 - 8 - 3, 0)
    assert row.sparsity == pytest.approx(19 / 40)
    kept = tensors["fc.weight"][:4][tensors["fc.weight"][:4] != 0]
    assert row.pqi == pytest.approx(pqi(kept).item())
    assert measure(tensors, masks).layers[1].zeros == 11


def test_neuron_summary(tensors: dict[str, Tensor]) -> None:
    card = measure(tensors, scope="neuron")
    per_unit = [pqi(row).item() for row in tensors["fc.weight"] if row.any()]
    inside = card.layers[1].neurons
    assert inside is not None
    assert (inside.min, inside.max) == pytest.approx((min(per_unit), max(per_unit)))
    assert inside.median == pytest.approx(median(per_unit))
    assert inside.undefined == 1
    dead = card.layers[2].neurons
    assert dead is not None
    assert dead.undefined == 2
    assert math.isnan(dead.median)
    assert card.global_.neurons is None
    assert all(row.neurons is None for row in measure(tensors, scope="layer").layers)


def test_json_is_strict_and_has_null_for_undefined(tensors: dict[str, Tensor]) -> None:
    plain = measure(tensors, scope="neuron", note="a note").to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {"global", "layers", "p", "q", "scope", "note"}
    assert plain["layers"][2]["pqi"] is None
    assert plain["layers"][2]["neurons"] == {"min": None, "median": None, "max": None, "undefined": 2}
    assert plain["layers"][0]["shape"] == [4, 3, 2, 2]
    assert {"d", "pqi", "gini", "effective_count", "keep_bound"} <= set(plain["global"])
    assert "neurons" not in plain["global"]
    assert (plain["p"], plain["q"], plain["scope"], plain["note"]) == (0.5, 1.0, "neuron", "a note")


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_table(tensors: dict[str, Tensor], scope: str) -> None:
    lines = str(measure(tensors, scope=scope, note="chosen by hand")).splitlines()  # type: ignore[arg-type]
    assert lines[0] == f"PQ Index with p=0.5, q=1; 3 tensors, scope {scope}"
    titles, table = lines[1], lines[2:6]
    assert [line.split()[0] for line in table] == [*tensors, "global"]
    for title in ("weights", "active", "sparsity", "zeros", "PQI", "Gini", "effective", "keep", "Hoyer", "kurtosis"):
        end = titles.index(title) + len(title)
        assert all(line[end - 1] != " " and line[end : end + 1] in {"", " "} for line in table)  # right-aligned
    assert ("neuron min" in titles) == (scope == "neuron")
    assert "chosen by hand" in lines
    assert any("undefined" in line for line in lines[6:])
    assert any('zeros="masked"' in line for line in lines[6:])
    assert "zeros" not in str(measure({"a": torch.ones(2, 2)}))


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (3, 0)])
@pytest.mark.parametrize("scope", ["neuron", "layer"])
def test_odd_shapes(shape: tuple[int, ...], scope: str) -> None:
    card = measure({"a": torch.ones(shape), "b": torch.ones(2)}, scope=scope)  # type: ignore[arg-type]
    assert card.layers[0].d == math.prod(shape)
    assert card.global_.pqi == 0.0
    assert str(card)
    assert json.dumps(card.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (({},), {}, "no weights to measure"),
        (({"a": torch.ones(2)}, {"b": torch.ones(2) > 0}), {}, "no weights for mask 'b'"),
        (({"a": torch.ones(2)}, {"a": torch.ones(3) > 0}), {}, r"a: the mask has shape \(3,\)"),
        (({"a": torch.ones(2), "b": torch.arange(2)},), {}, r"b: weights of type torch\.int64"),
        (({"a": torch.ones(2, dtype=torch.complex64)},), {}, r"a: weights of type torch\.complex64"),
        (({"a": torch.tensor([1.0, math.nan])},), {}, "a: 1 of 2 weights"),
        (
            ({"a": torch.ones(2)},),
            {"scope": "channel"},
            "scope='channel' is unknown; choose one of neuron, layer, global",
        ),
        (({"a": torch.ones(2)},), {"zeros": "drop"}, "zeros='drop' is unknown"),
        (({"a": torch.ones(2)},), {"p": 2.0}, "0 < p < q"),
    ],
)
def test_errors_name_what_is_wrong(
    arguments: tuple[Mapping[str, Tensor], ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(HowsparseError, match=message):
        measure(*arguments, **options)  # type: ignore[arg-type]


def test_weights_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Embedding(5, 6), nn.LSTM(3, 2))
    names = list(weights_by_name(net.state_dict()))
    assert names == ["0.weight", "2.weight", "3.weight_ih_l0", "3.weight_hh_l0"]
    state = {"weights.bias_matrix": torch.ones(2, 2), "a.in_proj_weight": torch.ones(2, 2), "epoch": 3}
    assert list(weights_by_name(state)) == ["a.in_proj_weight"]
    with pytest.raises(HowsparseError, match=r"the file holds a, b, c, d, e, \.\.\.; howsparse.measures.measure"):
        weights_by_name({name: torch.ones(2, 2) for name in "abcdef"})
    assert "embeddings" in NAME_RULE


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16])
def test_small_types_are_measured(dtype) -> None:
    values = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    card = measure({"w": values.to(dtype)})
    assert card.global_.zeros == 1
    assert card.global_.pqi == pytest.approx(measure({"w": values}).global_.pqi, abs=1e-12)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from howsparse import HowsparseError, Masks

bools = st.integers(0, 1)


@st.composite
def two_masks(draw: st.DrawFn) -> tuple[Masks, Masks]:
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=3))

    def one() -> Masks:
        bits = [draw(st.lists(bools, min_size=a * b, max_size=a * b)) for a, b in shapes]
        return Masks({f"w{i}": torch.tensor(v).reshape(s) for i, (v, s) in enumerate(zip(bits, shapes, strict=True))})

    return one(), one()


@given(two_masks())
def test_set_algebra(pair: tuple[Masks, Masks]) -> None:
    a, b = pair
    assert (a & b).active + (a | b).active == a.active + b.active
    assert (a - b) == (a & ~b)
    assert ~(a & b) == (~a | ~b)
    assert (a & b) <= a
    assert a <= (a | b)
    assert (a <= b) == ((a & b) == a)
    assert (~a).active == a.total - a.active
    assert a.sparsity + a.density == pytest.approx(1)


@settings(max_examples=30)
@given(two_masks())
def test_packed_form_round_trips(pair: tuple[Masks, Masks]) -> None:
    a, _ = pair
    assert Masks.unpacked(a.packed(), {name: list(m.shape) for name, m in a.items()}) == a


def test_file_round_trips_and_is_small(tmp_path) -> None:
    masks = Masks({"a.weight": torch.rand(100, 77) < 0.3, "b": torch.rand(3, 1, 5, 5) < 0.5})
    masks.save(tmp_path / "m.safetensors")
    assert Masks.load(tmp_path / "m.safetensors") == masks
    assert (tmp_path / "m.safetensors").stat().st_size < 7775 / 8 + 500
    with pytest.raises(HowsparseError, match="cannot read masks"):
        Masks.load(tmp_path / "absent")
    (tmp_path / "m.safetensors").write_bytes(b"nonsense")
    with pytest.raises(HowsparseError, match="cannot read masks"):
        Masks.load(tmp_path / "m.safetensors")


def test_a_file_of_weights_is_no_mask_file(tmp_path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(HowsparseError, match="not a howsparse mask file"):
        Masks.load(tmp_path / "w.safetensors")


def test_apply_zeroes_only_the_removed() -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    Masks({"w": torch.tensor([[1, 0], [1, 1]])}).apply_({"w": weight})
    assert weight.tolist() == [[1, 0], [3, 4]]


def test_misfits_are_named() -> None:
    masks = Masks({"w": torch.ones(2, 2)})
    with pytest.raises(HowsparseError, match=r"w has shape \(2, 2\), its weight has \(3, 2\)"):
        masks.check({"w": torch.zeros(3, 2)})
    with pytest.raises(HowsparseError, match="without a weight.*'w'.*without a mask.*'v'"):
        masks.check({"v": torch.zeros(2, 2)})
    with pytest.raises(HowsparseError, match="other than 0 and 1"):
        Masks({"w": torch.tensor([0.5])})
    with pytest.raises(HowsparseError, match="at least one tensor"):
        Masks({})


def test_torch_prune_both_ways() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(3, 6)
    torch_prune.l1_unstructured(net[0], "weight", amount=12)
    torch_prune.random_unstructured(net[2], "weight", amount=3)
    expected = net(x)
    masks = Masks.from_torch_prune(net)
    assert sorted(net.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert {n: int((~m).sum()) for n, m in masks.items()} == {"0.weight": 12, "2.weight": 3}
    assert torch.equal(net(x), expected)
    masks.to_torch_prune(net)
    assert torch.equal(net(x), expected)
    assert "0.weight_mask" in net.state_dict()
    assert Masks.from_torch_prune(net) == masks
    with pytest.raises(HowsparseError, match="carries no mask"):
        Masks.from_torch_prune(net)

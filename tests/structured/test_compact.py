"""Masked networks and the small ones made of them agree; what cannot be done is refused with the way out."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from howsparse import Masks, Task
from howsparse.deploy import count_multiply_adds
from howsparse.errors import HowsparseError
from howsparse.masks import prunable_parameters
from howsparse.structured import channel_groups, compact, dead_units, unit_masks
from howsparse.weights import load_weights
from howsparse.zoo.models import MODELS
from howsparse.zoo.objects import load_object
from tests.structured.networks import NETWORKS, OTHERS, groups_of, images, made, some_units, stirred
from tests.zoo.models.test_model_pretrained import unpacked


def _zeroed(network: nn.Module, units: list[Any]) -> nn.Module:
    """The reference, without any of our masks: every entry of every parameter that a unit has is zero."""
    network = copy.deepcopy(network).eval()
    for unit in units:
        for part in unit.parts:
            if part.name in dict(network.named_parameters()):
                network.get_parameter(part.name).data.index_fill_(part.dim, torch.tensor(part.indices), 0)
    return network


LARGE = ("resnet56", "resnet18", "vgg16")
SMALL = [name for name in NETWORKS if name not in LARGE]


def _agrees(name: str, seed: int) -> None:
    network, inputs = made(name, seed % 3)
    units = some_units(groups_of(name), seed)
    before = copy.deepcopy(network.state_dict())
    small = compact(network, unit_masks(network, units), inputs)
    with torch.no_grad():
        truth, found = _zeroed(network, units)(inputs), small.model.eval()(inputs)
    assert float((truth - found).abs().max()) <= 1e-5 * max(1.0, float(truth.abs().max()))
    gone = sum(
        p.numel()
        - torch.tensor([len(small.plan.keep.get(n, {}).get(d, range(s))) for d, s in enumerate(p.shape)]).prod()
        for n, p in network.named_parameters()
    )
    assert small.parameters == (sum(p.numel() for p in network.parameters()), small.parameters[0] - int(gone))
    assert all(torch.equal(tensor, before[n]) for n, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_masked_and_compact_agree_on_random_channels_of_the_whole_width(name: str, seed: int) -> None:
    _agrees(name, seed)


@pytest.mark.parametrize("name", ["resnet56", "vgg16"])
def test_masked_and_compact_agree_in_deep_and_wide_networks(name: str) -> None:
    _agrees(name, 5)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.2, 0.95))
def test_rows_masked_at_random_are_removed_only_where_whole_units_go(seed: int, share: float) -> None:
    network, inputs = made("resnet20")
    generator = torch.Generator().manual_seed(seed)
    masks = Masks(
        {
            name: (torch.rand(len(p), generator=generator) >= share)
            .index_fill(0, torch.tensor([seed % len(p)]), True)
            .reshape(-1, *[1] * (p.dim() - 1))
            .expand_as(p)
            for name, p in prunable_parameters(network).items()
        }
    )
    small = compact(network, masks, inputs)
    with torch.no_grad():
        assert torch.allclose(small.masked.eval()(inputs), small.model.eval()(inputs), atol=1e-5, rtol=1e-5)
    for name, mask in masks.items():
        assert not small.masked.get_parameter(name)[~mask].any()


def test_in_double_precision_nothing_is_left_of_the_difference() -> None:
    network, inputs = made("resnet20")
    network, inputs = network.double(), inputs.double()
    small = compact(network, unit_masks(network, some_units(groups_of("resnet20"), 6)), inputs, tolerance=1e-12)
    assert small.difference < 1e-12


def test_removing_nothing_is_the_identity() -> None:
    network, inputs = made("mobilenet")
    small = compact(network, unit_masks(network, []), inputs)
    assert (small.channels, small.difference, small.stayed, dict(small.plan.keep)) == (0, 0.0, 0, {})
    assert all(torch.equal(a, b) for a, b in zip(small.model.parameters(), network.parameters(), strict=True))


def test_rows_of_a_channel_that_others_make_stay_as_zeros_and_are_counted() -> None:
    network, inputs = made("resnet20")
    masks = unit_masks(network, groups_of("resnet20").units_of({"layer1.0.conv1.weight": [3]}))
    masks["layer1.0.conv2.weight"][[2, 5]] = False  # the stem makes these channels too
    small = compact(network, masks, inputs)
    assert (small.channels, small.stayed) == (1, 2)
    assert not small.model.layer1[0].conv2.weight[2].any()


def test_a_copy_without_masked_channels_shares_nothing_with_the_caller() -> None:
    network, inputs = made("mobilenet")
    small = compact(network, unit_masks(network, []), inputs)
    theirs = {p.data_ptr() for p in network.parameters()}
    assert not theirs & {p.data_ptr() for p in small.model.parameters()}


def test_two_removals_in_sequence_are_one_of_the_union() -> None:
    network, inputs = made("resnet20")
    groups = groups_of("resnet20")
    first, second = groups.groups[0].units[2], groups.groups[0].units[9]
    both = compact(network, unit_masks(network, [first, second]), inputs)
    once = compact(network, unit_masks(network, [first]), inputs).model
    again = channel_groups(once, inputs).groups[0].units[8]  # the ninth, now that the second is gone
    twice = compact(once, unit_masks(once, [again]), inputs)
    assert all(torch.equal(a, b) for a, b in zip(both.model.parameters(), twice.model.parameters(), strict=True))


def test_units_survive_the_way_through_masks() -> None:
    for name in ("mobilenet", "vit", "mixed"):
        network, _ = made(name)
        units = some_units(groups_of(name), 3)
        assert set(dead_units(groups_of(name), unit_masks(network, units))) == set(units)


def test_multiply_adds_and_parameters_agree_with_a_recount() -> None:
    network, inputs = made("mobilenet")
    small = compact(network, unit_masks(network, some_units(groups_of("mobilenet"), 1)), inputs).model
    counted = count_multiply_adds(small, lambda m: len(m(inputs)), {}).dense
    total = 0

    def recount(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        places = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        total += places * module.weight.numel()

    for module in small.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.weight.shape[0] == (getattr(module, "out_channels", 0) or module.out_features)
            module.register_forward_hook(recount)
    small(inputs[:1])
    assert counted == total


# --- layers ---------------------------------------------------------------------------------------------------------
def _without(network: nn.Module, *prefixes: str) -> Masks:
    masks = Masks.dense(dict(prunable_parameters(network)))
    return Masks({n: torch.zeros_like(m) if n.startswith(prefixes) else m for n, m in masks.items()})


@pytest.mark.parametrize("dead", [("layer2.1.conv1", "layer2.1.conv2"), ("layer2.1.conv1",), ("layer2.1.conv2",)])
def test_a_residual_block_without_weights_goes_whole(dead: tuple[str, ...]) -> None:
    network, inputs = made("resnet20")
    small = compact(network, _without(network, *dead), inputs)
    assert small.plan.removed == ("layer2.1",)
    assert not list(small.model.layer2[1].parameters())
    expected = copy.deepcopy(network).eval()
    expected.layer2[1] = nn.Identity()
    with torch.no_grad():
        assert torch.allclose(small.model.eval()(inputs), expected(inputs), atol=1e-5)


def test_attention_without_heads_vanishes_and_a_block_without_anything_is_passed() -> None:
    network, inputs = made("vit")
    small = compact(network, _without(network, "blocks.0.attention.qkv"), inputs)
    assert (small.plan.removed, small.plan.zeroed) == ((), ("blocks.0.attention",))
    small = compact(network, _without(network, "blocks.0.attention", "blocks.0.mlp"), inputs)
    assert (small.plan.removed, small.plan.zeroed) == (("blocks.0",), ())


def test_a_mask_that_empties_a_layer_is_refused_with_the_layer_and_the_least() -> None:
    network, inputs = made("dncnn")
    with pytest.raises(
        HowsparseError, match=r"empty conv2.*At least one unit must stay: let 1 of the 12 rows of conv2"
    ):
        compact(network, _without(network, "conv2"), inputs)
    network, inputs = made("resnet20")
    with pytest.raises(HowsparseError, match=r"the masks empty layer2\.0\.conv1\.weight: none of its 32 channels"):
        compact(network, _without(network, "layer2.0.conv1"), inputs)


# --- norms that follow ----------------------------------------------------------------------------------------------
def test_what_followed_its_channel_is_told() -> None:
    torch.manual_seed(0)
    network = stirred(nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3)))
    masks = Masks.dense(dict(prunable_parameters(network)))
    masks["0.weight"][2] = False
    x = images(channels=1)
    small = compact(network, masks, x)
    by_rows = copy.deepcopy(network).eval()
    by_rows[0].weight.data[2] = 0
    with torch.no_grad():
        moved = (by_rows(x) - small.model.eval()(x)).abs().max()
    assert small.followed == pytest.approx(float(moved), rel=1e-5)
    assert small.followed > 1e-3
    network[1].bias.data[2] = network[1].weight.data[2] = 0
    assert compact(network, masks, x).followed == 0


def test_a_channel_nobody_reads_goes_without_any_change() -> None:
    network, x = made("dncnn")
    masks = Masks.dense(dict(prunable_parameters(network)))
    masks["conv3.weight"][:, 4] = False
    small = compact(network, masks, x)
    assert small.model.conv2.out_channels == 11
    assert small.followed < 1e-6


# --- real data ------------------------------------------------------------------------------------------------------
def test_a_task_gives_inputs_and_data(make_task: Any) -> None:
    task = make_task(network="conv")
    units = channel_groups(task.model, task=task).groups[0].units[:2]
    small = compact(task.model, unit_masks(task.model, units), task=task, samples=100)
    assert small.samples >= 100
    assert small.model.training == task.model.training
    assert "samples" in str(small)


# --- code that does not bear it -------------------------------------------------------------------------------------
class _Fixed(nn.Module):
    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Linear(4, 6), nn.Linear(6, 2), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def _literal(m: nn.Module, x: Tensor) -> Tensor:
    return m.b(m.a(x).view(-1, 6))


def _by_width(m: nn.Module, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(y / y.shape[1])


def _by_value(m: nn.Module, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(y) if x.sum() < 50 or y.shape[1] == 6 else -m.b(y)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (_literal, r"code of _Fixed does not work with fewer channels.*reshape to \(3, 6\), 6 must become 5"),
        (_by_width, "code of _Fixed does not work with fewer channels: its output is off by"),
    ],
)
def test_code_that_knows_its_width_is_refused(code: Any, message: str) -> None:
    torch.manual_seed(0)
    network = _Fixed(code)
    masks = Masks.dense(dict(prunable_parameters(network)))
    masks["a.weight"][1] = False
    with pytest.raises(HowsparseError, match=message):
        compact(network, masks, torch.randn(3, 4))


def test_heads_whose_width_is_worked_out_from_the_embedding_are_refused() -> None:
    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n_head, self.c_attn, self.c_proj = 4, nn.Linear(32, 96), nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            b, t, c = x.shape
            q, k, v = (y.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for y in self.c_attn(x).split(c, 2))
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))

    torch.manual_seed(0)
    network, x = Gpt(), torch.randn(2, 5, 32)
    units = channel_groups(network, x).units_of({"c_attn.weight": [0]})
    with pytest.raises(HowsparseError, match=r"code of Gpt does not work with fewer channels.*integer attribute"):
        compact(network, unit_masks(network, units), x)


def test_padding_by_a_number_that_no_attribute_holds_keeps_its_channels_and_lets_others_go() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.c((self.b(x) + nn.functional.pad(x, (0, 0, 0, 0, 4, 4))).mean((2, 3)))

    torch.manual_seed(0)
    network, x = Closed(), images()
    groups = channel_groups(network, x)
    with pytest.raises(HowsparseError, match="channel 2 of b.weight cannot be removed: padding by a number that no"):
        groups.units_of({"b.weight": [2]})
    small = compact(network, unit_masks(network, groups.units_of({"a.weight": [1, 6]})), x)
    assert small.model.b.weight.shape == (14, 6, 3, 3)


def test_what_example_inputs_do_not_show_the_data_do() -> None:
    torch.manual_seed(0)
    network = _Fixed(_by_value)
    masks = Masks.dense(dict(prunable_parameters(network)))
    masks["a.weight"][1] = False
    x = torch.full((6, 4), 10.0)
    task = Task(network, torch.utils.data.TensorDataset(x, torch.zeros(6).long()), val_share=0)
    assert compact(network, masks, torch.zeros(3, 4)).difference < 1e-6
    with pytest.raises(HowsparseError, match="does not agree with the masked one: outputs differ by"):
        compact(network, masks, torch.zeros(3, 4), task=task)


def test_attributes_with_misleading_values_are_left_alone() -> None:
    network, inputs = made("llama")  # four heads of width eight, two key and value heads
    groups = groups_of("llama")
    small = compact(network, unit_masks(network, groups.groups[0].units[:1]), inputs)
    assert dict(small.plan.attributes) == {"layers.0.attention": {"heads": 2, "kv_heads": 1}}
    assert (small.model.layers[0].attention.width, small.model.layers[1].attention.heads) == (8, 4)


def test_masks_of_another_network_are_refused() -> None:
    network, inputs = made("vit")
    with pytest.raises(HowsparseError, match="the masks are for another network"):
        compact(network, Masks({"conv1.weight": torch.ones(2, 2)}), inputs)
    with pytest.raises(HowsparseError, match="example_inputs are missing"):
        compact(network, unit_masks(network, []))


def test_gradients_flow_through_the_small_network() -> None:
    network, inputs = made("resnet20")
    small = compact(network, unit_masks(network, some_units(groups_of("resnet20"), 4)), inputs).model.train()
    small(inputs).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


# --- trained networks -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("file", "build"),
    [
        ("resnet20_cifar10", lambda: MODELS["resnet20"].build((3, 32, 32), 10)),
        ("resnet56_cifar10", lambda: MODELS["resnet56"].build((3, 32, 32), 10)),
        ("dncnn_gray_sigma25", lambda: load_object(f"{OTHERS}:dncnn")()),
        ("stories260k", lambda: load_object(f"{OTHERS}:stories260k")()),
    ],
)
def test_trained_networks_agree_on_real_data(file: str, build: Any, shared: Path) -> None:
    network = build()
    load_weights(network, shared / "data" / f"{file}.safetensors")
    x = _real_inputs(file, shared / "data")
    units = some_units(channel_groups(network, x[:2]), 8)
    small = compact(network, unit_masks(network, units), x)
    assert small.relative <= 1e-5
    assert small.parameters[1] < small.parameters[0]
    assert small.channels == len(units) > 5


def _real_inputs(file: str, data: Path) -> Tensor:
    if "cifar" in file:
        pictures, _ = unpacked(data / "cifar10_test.npz", 1)
        return (torch.from_numpy(pictures[:16]).permute(0, 3, 1, 2) / 255 - 0.47) / 0.25
    if "dncnn" in file:
        picture = np.load(data / "natural_images_gray.npz")["camera"]
        return torch.from_numpy(picture)[None, None, 200:260, 200:260] / 255
    text = np.frombuffer((data / "tinyshakespeare.txt").read_bytes()[:128], dtype=np.uint8)
    return torch.from_numpy(text.astype(np.int64)).reshape(2, 64)


def test_a_learned_scale_in_another_shape_and_a_table_of_positions_go_with_their_channel() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
            self.gamma, self.table = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(1, 6, 14, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) * self.gamma.view(1, -1, 1, 1) + self.table)

    torch.manual_seed(0)
    network, x = Scaled(), images()
    groups = channel_groups(network, x)
    masks = Masks.dense(dict(prunable_parameters(network)))
    masks["a.weight"][2] = False
    assert compact(network, masks, x).channels == 0  # the table still makes that channel
    small = compact(network, unit_masks(network, groups.units_of({"a.weight": [2]})), x)
    assert (small.model.gamma.shape, small.model.table.shape) == ((5,), (1, 5, 14, 1))

"""What the networks compute, how they start, and what they refuse."""

import math

import pytest
import torch
from torch import nn

from howsparse.errors import HowsparseError
from howsparse.zoo import MODELS
from howsparse.zoo.models.preact_resnet import PreActBlock
from howsparse.zoo.models.resnet import BasicBlock
from howsparse.zoo.models.resnet_cifar import ThinBlock

# The smallest images of each network; shape-free ones get an odd, non-square image.
SMALLEST = {"cnn": 8, "lenet5": 16, "alexnet-cifar": 10, "vgg16": 32, "vgg19": 16}
SAP = {"linear", "mlp", "cnn", "preact-resnet18", "wresnet28x8", "resnet50-imagenet"}
HEAVY = {
    "resnet50",
    "resnet50-imagenet",
    "wresnet28x8",
    "alexnet-cifar",
    "vgg16",
    "vgg19",
    "resnet18",
    "resnet32x2",
    "preact-resnet18",
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_output_shape_at_the_smallest_size(name: str) -> None:
    side = SMALLEST.get(name, 5)
    shape = (3, side, side + 2)
    with torch.device("meta"):
        network = MODELS[name].build(shape, 7)
        assert network(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", sorted(set(MODELS) - HEAVY))
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_finite_output_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = MODELS[name].build(shape, 10)
    network(torch.randn(2, *shape)).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.ndim < 2 or parameter.grad.any()


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_too_small_images_are_refused_and_the_limit_is_sharp(name: str) -> None:
    side = SMALLEST[name]
    shape = (3, side - 1, 64)
    with pytest.raises(HowsparseError, match=rf"{name} .*\(3, {side - 1}, 64\).*{side}x{side}"):
        MODELS[name].build(shape, 10)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"linear", "mlp", "lenet-300-100", "fc5", "fc12"}))
def test_vectors_are_refused_by_image_networks(name: str) -> None:
    with pytest.raises(HowsparseError, match=rf"{name}.*\(20,\).*linear"):
        MODELS[name].build((20,), 10)


def test_vectors_are_taken_by_dense_networks() -> None:
    assert MODELS["mlp"].build((20,), 3)(torch.zeros(4, 20)).shape == (4, 3)


def test_one_channel_is_refused_by_the_imagenet_network() -> None:
    with pytest.raises(HowsparseError, match=r"resnet50-imagenet.*\(1, 28, 28\).*3 channels.*resnet50 takes"):
        MODELS["resnet50-imagenet"].build((1, 28, 28), 10)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_classes_and_empty_shapes_are_refused(name: str) -> None:
    with pytest.raises(HowsparseError, match="0 outputs"):
        MODELS[name].build((3, 32, 32), 0)
    with pytest.raises(HowsparseError, match=r"\(3, 0, 32\)"):
        MODELS[name].build((3, 0, 32), 10)


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    x = torch.randn(2, 16, 7, 8)
    expected = torch.zeros(2, 32, 4, 4)
    for row in range(4):
        for column in range(4):
            expected[:, 8:24, row, column] = x[:, :, 2 * row, 2 * column]
    assert torch.equal(ThinBlock(16, 32, 2).shortcut(x), expected)
    assert torch.equal(ThinBlock(16, 16, 1).shortcut(x), x)


@pytest.mark.parametrize("block", [ThinBlock(4, 4, 1), BasicBlock(4, 4, 1), PreActBlock(4, 4, 1)])
def test_a_block_with_dead_branch_is_its_shortcut(block: nn.Module) -> None:
    x = torch.rand(2, 4, 6, 6)
    with torch.no_grad():
        block.get_parameter("conv2.weight").zero_()
        assert torch.equal(block(x), x)


def test_preactivation_shortcut_starts_from_the_activated_input() -> None:
    block = PreActBlock(3, 5, 2).eval()
    assert block.shortcut is not None
    x = -torch.rand(1, 3, 4, 4)  # ReLU kills it all
    with torch.no_grad():
        assert not block(x).any()
        block.bn1.bias.fill_(10.0)
        block.conv2.weight.zero_()
        expected = block.shortcut(10 + x / math.sqrt(1 + block.bn1.eps))
        torch.testing.assert_close(block(x), expected)


def test_last_map_of_vgg19_is_averaged_and_that_of_vgg16_pooled_before() -> None:
    images = torch.zeros(1, 3, 32, 32, device="meta")
    for name, last in (("vgg16", (512, 1, 1)), ("vgg19", (512, 2, 2))):
        with torch.device("meta"):
            network = MODELS[name].build((3, 32, 32), 10)
        assert isinstance(network, nn.Sequential)
        names = list(dict(network.named_children()))
        before = network[: names.index("mean")]
        assert before(images).shape[1:] == last
        assert sum(isinstance(module, nn.Conv2d) for module in network) == int(name[3:]) - 3


def test_alexnet_enlarges_sevenfold() -> None:
    with torch.device("meta"):
        network = MODELS["alexnet-cifar"].build((3, 32, 32), 10)
    enlarge = network.get_submodule("enlarge")
    x = torch.randn(1, 1, 2, 3)
    expected = x.repeat_interleave(7, 2).repeat_interleave(7, 3)
    assert torch.equal(enlarge(x), expected)
    assert network.get_submodule("fc1").get_parameter("weight").shape == (4096, 6400)


@pytest.mark.parametrize("name", ["cnn", "lenet5", "fc5", "resnet20", "preact-resnet18", "mlp"])
def test_initialisation(name: str) -> None:
    torch.manual_seed(1)
    network = MODELS[name].build((3, 32, 32), 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is None or (module.bias == 0).all()
            assert module.weight.std().item() * math.sqrt(fan(module, name)) == pytest.approx(1, abs=tolerance(module))


def fan(module: nn.Conv2d | nn.Linear, name: str) -> float:
    """One over the variance of the weights that the papers draw."""
    weight = module.weight
    if isinstance(module, nn.Linear):
        return 3 * weight.shape[1] if name in SAP else weight.shape[1] / 2  # PyTorch draws U(+-1/sqrt(n))
    axis = 0 if name in SAP else 1
    return weight.shape[axis] * weight[0, 0].numel() / 2


def tolerance(module: nn.Conv2d | nn.Linear) -> float:
    """Five standard errors of a standard deviation."""
    return 5 / math.sqrt(2 * module.weight.numel())

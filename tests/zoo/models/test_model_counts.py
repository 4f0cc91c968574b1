"""Parameter counts of the papers' networks."""

import pytest
import torch
from torch import nn

from howsparse.zoo import MODELS

GREY, CIFAR, TINY = (1, 28, 28), (3, 32, 32), (3, 64, 64)


def counted(network: nn.Module) -> tuple[int, int, int]:
    """Parameters, prunable parameters, prunable tensors."""
    tensors = list(network.parameters())
    weights = [tensor.numel() for tensor in tensors if tensor.ndim >= 2]
    return sum(tensor.numel() for tensor in tensors), sum(weights), len(weights)


def built(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name].build(shape, classes)


# Diao et al. (arXiv 2302.05601), their four data sets.
SAP = [
    ("linear", GREY, 10, 7_850, 7_840, 1),
    ("linear", CIFAR, 10, 30_730, 30_720, 1),
    ("linear", CIFAR, 100, 307_300, 307_200, 1),
    ("linear", TINY, 200, 2_457_800, 2_457_600, 1),
    ("mlp", GREY, 10, 136_074, 135_680, 3),
    ("mlp", CIFAR, 10, 428_938, 428_544, 3),
    ("mlp", CIFAR, 100, 452_068, 451_584, 3),
    ("mlp", TINY, 200, 1_657_416, 1_656_832, 3),
    ("cnn", GREY, 10, 1_556_874, 1_553_984, 5),
    ("cnn", CIFAR, 10, 1_558_026, 1_555_136, 5),
    ("cnn", CIFAR, 100, 1_604_196, 1_601_216, 5),
    ("cnn", TINY, 200, 1_655_496, 1_652_416, 5),
    ("preact-resnet18", GREY, 10, 11_171_018, 11_163_200, 21),
    ("preact-resnet18", CIFAR, 10, 11_172_170, 11_164_352, 21),
    ("preact-resnet18", CIFAR, 100, 11_218_340, 11_210_432, 21),
    ("preact-resnet18", TINY, 200, 11_269_640, 11_261_632, 21),
    ("wresnet28x8", GREY, 10, 23_354_554, 23_340_176, 29),
    ("wresnet28x8", CIFAR, 10, 23_354_842, 23_340_464, 29),
    ("wresnet28x8", CIFAR, 100, 23_401_012, 23_386_544, 29),
    ("wresnet28x8", TINY, 200, 44_723_864, 44_708_272, 22),
    ("resnet50-imagenet", CIFAR, 10, 23_528_522, 23_475_392, 54),
    ("resnet50-imagenet", CIFAR, 100, 23_712_932, 23_659_712, 54),
    ("resnet50-imagenet", TINY, 200, 23_917_832, 23_864_512, 54),
]

# Zhang et al. (arXiv 2306.05857): weights, then biases and BatchNorm together.
LIMIT = [
    ("fc5", CIFAR, 10, 3_883_000, 2_010),
    ("fc12", CIFAR, 10, 7_263_000, 6_610),
    ("alexnet-cifar", CIFAR, 10, 46_778_400, 9_578),
    ("vgg16", CIFAR, 10, 14_715_584, 4_234 + 8_448),
    ("resnet18", CIFAR, 10, 11_164_352, 10 + 9_600),
    ("resnet18", CIFAR, 100, 11_210_432, 100 + 9_600),
    ("resnet18", TINY, 200, 11_261_632, 200 + 9_600),
    ("resnet50", CIFAR, 10, 23_467_712, 10 + 53_120),
    ("resnet50", CIFAR, 100, 23_652_032, 100 + 53_120),
    ("resnet50", TINY, 200, 23_856_832, 200 + 53_120),
]

# He et al. (arXiv 1512.03385) and the classics on MNIST: all parameters.
# Wang et al. (arXiv 2002.07376), doubled: 10 linear biases and BatchNorm of 11, 10 and 10 convolutions.
OTHERS = [
    ("resnet32x2", CIFAR, 1_845_344 + 10 + 2 * (11 * 32 + 10 * 64 + 10 * 128)),
    ("vgg19", CIFAR, 20_024_000 + 10 + 3 * 5_504),
    ("resnet20", CIFAR, 269_722),
    ("resnet32", CIFAR, 464_154),
    ("resnet44", CIFAR, 658_586),
    ("resnet56", CIFAR, 853_018),
    ("lenet-300-100", GREY, 266_610),
    ("lenet5", GREY, 431_080),
]


@pytest.mark.parametrize(("name", "shape", "classes", "total", "prunable", "tensors"), SAP)
def test_counts_of_the_sap_paper(
    name: str, shape: tuple[int, ...], classes: int, total: int, prunable: int, tensors: int
) -> None:
    assert counted(built(name, shape, classes)) == (total, prunable, tensors)


@pytest.mark.parametrize(("name", "shape", "classes", "weights", "rest"), LIMIT)
def test_counts_of_the_limit_paper(name: str, shape: tuple[int, ...], classes: int, weights: int, rest: int) -> None:
    total, prunable, _ = counted(built(name, shape, classes))
    assert (prunable, total - prunable) == (weights, rest)


@pytest.mark.parametrize(("name", "shape", "total"), OTHERS)
def test_counts_of_classic_networks(name: str, shape: tuple[int, ...], total: int) -> None:
    assert counted(built(name, shape, 10))[0] == total


def test_torchvision_names_and_count_of_resnet50() -> None:
    network = built("resnet50-imagenet", (3, 224, 224), 1000)
    names = set(network.state_dict())
    assert counted(network)[0] == 25_557_032
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.running_var", "fc.bias"} <= names
    assert not any("downsample" in name for name in names if name.startswith("layer1.1."))


def test_every_contract_name_is_there() -> None:
    wanted = (
        "linear mlp cnn lenet-300-100 lenet5 fc5 fc12 alexnet-cifar vgg16 vgg19 resnet18 resnet50 "
        "preact-resnet18 resnet50-imagenet wresnet28x8 resnet20 resnet32 resnet32x2 resnet44 resnet56"
    )
    assert set(MODELS) == set(wanted.split())
    assert all(entry.name == name and "\n" not in entry.about for name, entry in MODELS.items())

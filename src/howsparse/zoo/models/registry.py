"""The table of networks by name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from howsparse.zoo.models import (
    alexnet,
    cnn,
    mlp,
    preact_resnet,
    resnet,
    resnet_cifar,
    vgg,
    wresnet,
)


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo: its name, its constructor and a line about it.

    Example:
        >>> MODELS["mlp"].build((1, 8, 8), 10).fc1
        Linear(in_features=64, out_features=128, bias=True)
    """

    name: str
    build: Callable[[tuple[int, ...], int], nn.Module]  # (shape of one input, number of classes)
    about: str


MODELS: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry("linear", mlp.linear, "logistic regression (Diao et al. 2023, arXiv 2302.05601)"),
        ModelEntry("mlp", mlp.mlp, "perceptron 128-256 (Diao et al. 2023, arXiv 2302.05601)"),
        ModelEntry("cnn", cnn.cnn, "four convolutions 64-128-256-512 (Diao et al. 2023, arXiv 2302.05601)"),
        ModelEntry("lenet-300-100", mlp.lenet_300_100, "perceptron 300-100 (LeCun et al. 1998)"),
        ModelEntry("lenet5", cnn.lenet5, "convolutions 20-50, linear 500 (LeCun et al. 1998, as in Caffe)"),
        ModelEntry("fc5", mlp.fc5, "five linear layers (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry("fc12", mlp.fc12, "twelve linear layers (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry("alexnet-cifar", alexnet.alexnet_cifar, "AlexNet, inputs x7 (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry("vgg16", vgg.vgg16, "VGG-16 with BatchNorm (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry("vgg19", vgg.vgg19, "VGG-19 with BatchNorm (Wang et al. 2020, arXiv 2002.07376)"),
        ModelEntry("resnet18", resnet.resnet18, "ResNet-18, 3x3 stem (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry("resnet50", resnet.resnet50, "ResNet-50, 3x3 stem (Zhang et al. 2024, arXiv 2306.05857)"),
        ModelEntry(
            "preact-resnet18",
            preact_resnet.preact_resnet18,
            "pre-activation ResNet-18 (Diao et al. 2023, arXiv 2302.05601)",
        ),
        ModelEntry(
            "resnet50-imagenet",
            resnet.resnet50_imagenet,
            "ResNet-50, 7x7 stem and max-pool (Diao et al. 2023, arXiv 2302.05601)",
        ),
        ModelEntry("wresnet28x8", wresnet.wresnet28x8, "Wide ResNet 28x8 (Diao et al. 2023, arXiv 2302.05601)"),
        ModelEntry("resnet20", resnet_cifar.resnet20, "CIFAR ResNet-20, option A (He et al. 2015, arXiv 1512.03385)"),
        ModelEntry("resnet32", resnet_cifar.resnet32, "CIFAR ResNet-32, option A (He et al. 2015, arXiv 1512.03385)"),
        ModelEntry(
            "resnet32x2", resnet_cifar.resnet32x2, "ResNet-32, twice as wide (Wang et al. 2020, arXiv 2002.07376)"
        ),
        ModelEntry("resnet44", resnet_cifar.resnet44, "CIFAR ResNet-44, option A (He et al. 2015, arXiv 1512.03385)"),
        ModelEntry("resnet56", resnet_cifar.resnet56, "CIFAR ResNet-56, option A (He et al. 2015, arXiv 1512.03385)"),
    )
}

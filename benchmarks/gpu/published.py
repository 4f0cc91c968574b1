"""What papers report for pruned networks on CIFAR-10, and the settings they report it for.

No paper's text was at hand: figures are marked with where they come from, and none of them is a bar to be held to before
it has been looked up. Settings come from the authors' code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import howsparse as hs
from howsparse.methods import Method

REMEMBERED = "as remembered, unverified"
READ_OFF = "read off a figure in the authors' README, good to 0.7; the best epoch on the test set"

Figures = dict[float, float]  # sparsity: test accuracy in per cent
FIGURES: dict[tuple[str, str], tuple[Figures, str]] = {
    ("smart-ratio", "vgg19"): ({0.9: 93.8, 0.95: 93.4, 0.98: 92.5}, REMEMBERED),
    ("smart-ratio", "resnet32x2"): ({0.9: 93.0, 0.95: 91.6, 0.98: 89.1}, REMEMBERED),
    ("snip", "vgg19"): ({0.9: 93.6, 0.95: 93.4, 0.98: 92.0}, REMEMBERED),
    ("grasp", "vgg19"): ({0.9: 93.3, 0.95: 93.0, 0.98: 92.2}, REMEMBERED),
    ("grasp", "resnet32x2"): ({0.9: 92.4, 0.95: 91.4, 0.98: 88.8}, REMEMBERED),
    ("granet", "vgg19"): ({0.9: 93.8, 0.95: 93.7, 0.98: 93.5}, REMEMBERED),
    ("espn", "resnet32x2"): (
        {0.9: 93.6, 0.95: 93.0, 0.98: 92.5, 0.99: 90.7, 0.995: 88.8, 0.998: 83.0},
        READ_OFF,
    ),
}
GEM = 0.9856  # sparsity of the one gem whose layers are published
GEM_LAYERS = (
    "densities: conv1 34.5 %, layer1.0 7 to 9 %, layer3 about 0.3 to 0.7 %, linear 25.9 % (authors' repository)"
)

SGD = hs.Recipe(
    epochs=160,
    lr=0.1,
    nesterov=False,
    weight_decay=5e-4,
    clip=None,
    schedule="milestones",
    milestones=(0.5, 0.75),
    keep="last",
)
GRANET_STEPS = 62_560  # 160 epochs of 391 batches; its masks change every 1000 of them


@dataclass(frozen=True)
class Setting:
    """How a method's authors train, as far as it can be told, and where this differs."""

    make: Callable[[float, int], Method]  # from the sparsity and the length of the training in steps
    recipe: hs.Recipe
    batch: int = 128
    dense: hs.Recipe | None = None  # the method starts from a network trained so
    remark: str = ""


def setting(method: str, network: str, most_epochs: int) -> Setting:
    """The setting of a method's authors for a network, no training longer than ``most_epochs``."""
    found = _SETTINGS[method](network)
    dense = None if found.dense is None else replace(found.dense, epochs=min(found.dense.epochs, most_epochs))
    recipe = replace(found.recipe, epochs=min(found.recipe.epochs, most_epochs))
    make = found.make

    def shorter(sparsity: float, steps: int) -> Method:
        asked = make(sparsity, steps)
        search = getattr(asked, "search_epochs", None)
        return asked if search is None else replace(asked, search_epochs=min(search, most_epochs))

    return replace(found, make=shorter, recipe=recipe, dense=dense)


def figure(method: str, network: str, sparsity: float) -> dict[str, float | str] | None:
    """What is reported for a run; None where nothing is known."""
    if (method, network, sparsity) == ("rare-gems", "resnet20", GEM):
        return {"layers": GEM_LAYERS}
    figures, source = FIGURES.get((method, network), ({}, ""))
    return {"accuracy": figures[sparsity], "source": source} if sparsity in figures else None


def _smart_ratio(network: str) -> Setting:
    family = "plain" if network.startswith("vgg") else "residual"
    recipe = replace(SGD, weight_decay=1e-4)
    remark = "the authors' ResNet-32 has 1x1 convolutions in its shortcuts, resnet32x2 has none"
    return Setting(lambda s, _: hs.SmartRatio(sparsity=s, family=family), recipe, batch=64, remark=remark)


def _grasp_recipe(network: str) -> hs.Recipe:
    return SGD if network.startswith("vgg") else replace(SGD, weight_decay=1e-4)


def _grasp(network: str) -> Setting:
    remark = "one batch of 128 images as they come; the authors draw 10 of each class, and keep the best epoch on the test set"
    return Setting(lambda s, _: hs.GraSP(sparsity=s), _grasp_recipe(network), remark=remark)


def _snip(network: str) -> Setting:
    remark = "trained by GraSP's recipe: whose recipe the figures belong to is not known"
    return Setting(lambda s, _: hs.SNIP(sparsity=s), _grasp_recipe(network), remark=remark)


def _granet(network: str) -> Setting:  # noqa: ARG001
    def make(sparsity: float, steps: int) -> Method:
        return hs.GraNet(sparsity=sparsity, every=max(1, round(1000 * steps / GRANET_STEPS)))

    remark = "from a dense network; whether the figures are those or the ones from half the weights is not known"
    return Setting(make, replace(SGD, nesterov=True), remark=remark)


def _espn(network: str) -> Setting:  # noqa: ARG001
    alphas = {0.998: 3e-4, 0.995: 3e-4, 0.99: 2e-4, 0.98: 1e-4, 0.0: 8e-5}  # the authors list none for 0.9 and 0.998

    def make(sparsity: float, steps: int) -> Method:  # noqa: ARG001
        alpha = next(a for least, a in alphas.items() if sparsity >= least)
        return hs.ESPN(sparsity=sparsity, alpha=alpha, search_epochs=300, search_lr=0.1)

    tuning = replace(SGD, epochs=50, lr=1e-3, milestones=(0.6,), dense_epochs=0)
    return Setting(make, tuning, batch=256, dense=SGD)


def _rare_gems(network: str) -> Setting:  # noqa: ARG001
    def make(sparsity: float, steps: int) -> Method:  # noqa: ARG001
        search = {"search_epochs": 150, "search_lr": 0.1, "penalty": "l2", "strength": 1e-4, "init": "signed"}
        return hs.RareGems(sparsity=sparsity, **search)

    recipe = replace(SGD, epochs=150, lr=0.01, weight_decay=1e-4, schedule="cosine")
    remark = (
        "the search as the authors run it but with trainable parameters of BatchNorm at rest; they fine-tune with drops "
        "at epochs 80 and 120, here it is a cosine"
    )
    return Setting(make, recipe, remark=remark)


_SETTINGS: dict[str, Callable[[str], Setting]] = {
    "smart-ratio": _smart_ratio,
    "snip": _snip,
    "grasp": _grasp,
    "granet": _granet,
    "espn": _espn,
    "rare-gems": _rare_gems,
}
METHODS = tuple(_SETTINGS)


def steps_of(samples: int, found: Setting) -> int:
    """Optimizer steps of a setting's training."""
    return math.ceil(samples / found.batch) * found.recipe.epochs

"""What papers report for pruned networks on CIFAR-10, and the settings they report it for.

No paper's text was at hand: figures are marked with where they come from, and none of them is a bar to be held to
before it has been looked up. Settings come from the authors' code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import howsparse as hs
from howsparse.methods import Method
from howsparse.pruners.searching import SearchMethod

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
    "densities in the authors' repository: conv1 34.5 %, layer1.0 7 to 9 %, layer3 about 0.3 to 0.7 %, linear 25.9 %"
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
STEPS = 391 * SGD.epochs  # 50,000 images in batches of 128


@dataclass(frozen=True)
class Setting:
    """How a method's authors train, as far as it can be told, and where this differs."""

    method: Method
    recipe: hs.Recipe
    batch: int = 128
    dense: hs.Recipe | None = None  # the method starts from a network trained so
    remark: str = ""


def setting(method: str, network: str, sparsity: float, *, samples: int, most_epochs: int) -> Setting:
    """The setting of a method's authors; for fewer samples or epochs masks change as many times in fewer steps."""
    full = SETTINGS[method](network, sparsity)
    pruning, dense = full.method, full.dense
    recipe = replace(full.recipe, epochs=min(full.recipe.epochs, most_epochs))
    if dense is not None:
        dense = replace(dense, epochs=min(dense.epochs, most_epochs))
    if isinstance(pruning, SearchMethod) and pruning.search_epochs is not None:
        pruning = replace(pruning, search_epochs=min(pruning.search_epochs, most_epochs))
    if isinstance(pruning, hs.GraNet) and pruning.every is not None:
        steps = math.ceil(samples / full.batch) * recipe.epochs
        pruning = replace(pruning, every=max(1, round(pruning.every * steps / STEPS)))
    return replace(full, method=pruning, recipe=recipe, dense=dense)


def figure(method: str, network: str, sparsity: float) -> dict[str, float | str] | None:
    """What is reported for a run; None where nothing is known."""
    if (method, network, sparsity) == ("rare-gems", "resnet20", GEM):
        return {"layers": GEM_LAYERS}
    figures, source = FIGURES.get((method, network), ({}, ""))
    return {"accuracy": figures[sparsity], "source": source} if sparsity in figures else None


def _smart_ratio(network: str, sparsity: float) -> Setting:
    recipe = replace(SGD, weight_decay=1e-4)
    if network.startswith("vgg"):
        return Setting(hs.SmartRatio(sparsity=sparsity, family="plain"), recipe, batch=64)
    remark = "the authors' ResNet-32 is as wide as resnet32x2, but has 1x1 convolutions in its shortcuts"
    return Setting(hs.SmartRatio(sparsity=sparsity, family="residual"), recipe, batch=64, remark=remark)


def _grasp(network: str, sparsity: float) -> Setting:
    remark = "scores from 128 images, where the authors draw 10 of each class and report the best epoch on the test set"
    return Setting(hs.GraSP(sparsity=sparsity), _grasp_recipe(network), remark=remark)


def _snip(network: str, sparsity: float) -> Setting:
    remark = "trained by GraSP's recipe: which recipe the figures belong to is not known"
    return Setting(hs.SNIP(sparsity=sparsity), _grasp_recipe(network), remark=remark)


def _grasp_recipe(network: str) -> hs.Recipe:
    return SGD if network.startswith("vgg") else replace(SGD, weight_decay=1e-4)


def _granet(network: str, sparsity: float) -> Setting:
    remark = "from a dense network; whether the figures are those, or the ones from half the weights, is not known"
    return Setting(hs.GraNet(sparsity=sparsity, every=1000), replace(SGD, nesterov=True), remark=remark)


def _espn(network: str, sparsity: float) -> Setting:
    # the authors list 0.95 to 0.995; 0.9 and 0.998 take their neighbour's
    alpha = next(a for least, a in ((0.995, 3e-4), (0.99, 2e-4), (0.98, 1e-4), (0.0, 8e-5)) if sparsity >= least)
    method = hs.ESPN(sparsity=sparsity, alpha=alpha, search_epochs=300, search_lr=0.1)
    tuning = replace(SGD, epochs=50, lr=1e-3, milestones=(0.6,), dense_epochs=0)
    remark = "the last epoch, where the authors report the best one on the test set; alpha at 0.9 and 0.998 is a guess"
    return Setting(method, tuning, batch=256, dense=SGD, remark=remark)


def _rare_gems(network: str, sparsity: float) -> Setting:
    search = {"search_epochs": 150, "search_lr": 0.1, "strength": 1e-4, "init": "signed"}
    remark = (
        "BatchNorm's scales and shifts rest in the search, where the authors have none; they fine-tune with drops at "
        "epochs 80 and 120, here the rate falls along a cosine"
    )
    recipe = replace(SGD, epochs=150, lr=0.01, weight_decay=1e-4, schedule="cosine")
    return Setting(hs.RareGems(sparsity=sparsity, **search), recipe, remark=remark)


SETTINGS: dict[str, Callable[[str, float], Setting]] = {
    "smart-ratio": _smart_ratio,
    "snip": _snip,
    "grasp": _grasp,
    "granet": _granet,
    "espn": _espn,
    "rare-gems": _rare_gems,
}

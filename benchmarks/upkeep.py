"""What it costs to keep pruned weights at zero: whole training steps at 90 % sparsity, by several means."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from rounds import Case
from torch import Tensor, nn
from torch.nn.utils import parametrize

from howsparse.masks import Masks, Upkeep, prunable_parameters, remove_smallest
from howsparse.scores import magnitude
from howsparse.zoo import build_model

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4),
    "AdamW": partial(torch.optim.AdamW, lr=1e-4, weight_decay=5e-4),
}
BATCH, SPARSITY = 128, 0.9
Around = tuple[Callable[[], None], Callable[[], None]]
Keep = Callable[[nn.Module, Masks], Around]


class Masked(nn.Module):
    """The parametrization: the mask becomes part of the weight's computation."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def cases() -> Iterator[Case]:
    yield case("fc5", "SGD", MEANS)
    yield case("fc5", "AdamW", MEANS)
    yield case("resnet20", "SGD", tuple(MEANS)[:4])  # its steps are long: fewer variants, more rounds


def case(model: str, optimizer: str, means: Iterable[str]) -> Case:
    variants = {name: step(model, optimizer, MEANS[name]) for name in means}
    own = build(model)
    variants["howsparse: the upkeep alone"] = howsparse(own, ninety_percent(own))[1]
    return Case(f"training step, {model}, {optimizer}", variants, {"howsparse": 1.05}, effort=4.0)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, (3, 32, 32), 10)


def step(name: str, optimizer_name: str, keep: Keep) -> Callable[[], None]:
    """One training step of a fresh network; ``keep`` gives what runs before and after ``optimizer.step()``."""
    model = build(name)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    before, after = keep(model, ninety_percent(model))
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        before()
        optimizer.step()
        after()

    for _ in range(5):
        run()
    return run


def ninety_percent(model: nn.Module) -> Masks:
    weights = {name: p.detach() for name, p in prunable_parameters(model).items()}
    masks = Masks.dense(weights)
    count = torch.tensor(round(SPARSITY * masks.total))
    return remove_smallest(masks, magnitude(weights), {"global": count}, scope="global")


def nothing() -> None:
    pass


# --- the means: what runs before and after optimizer.step() -----------------------------------------------------------
def dense(model: nn.Module, masks: Masks) -> Around:
    return nothing, nothing


def howsparse(model: nn.Module, masks: Masks) -> Around:
    parameters = prunable_parameters(model)
    masks.apply_({name: p.detach() for name, p in parameters.items()})
    return nothing, Upkeep(parameters, masks).step


def hooks(model: nn.Module, masks: Masks) -> Around:
    masks.to_torch_prune(model)  # custom_from_mask for every tensor
    return nothing, nothing


def parametrizations(model: nn.Module, masks: Masks) -> Around:
    for name, mask in masks.items():
        module, _, tensor = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(module), tensor, Masked(mask))
    return nothing, nothing


def masked_gradients(model: nn.Module, masks: Masks) -> Around:
    parameters = prunable_parameters(model)
    masks.apply_({name: p.detach() for name, p in parameters.items()})
    factors = [masks[name].float() for name in parameters]
    return lambda: torch._foreach_mul_([p.grad for p in parameters.values()], factors), nothing


MEANS: dict[str, Keep] = {
    "dense": dense,
    "dense again": dense,  # how far the machine can be trusted
    "howsparse": howsparse,
    "prune hooks": hooks,
    "parametrizations": parametrizations,
    "masked gradients": masked_gradients,
}

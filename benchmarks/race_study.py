"""The study the race's constants were chosen from: short masked trainings beside full ones, in plain PyTorch.

Independent of the library's own training loop, so that it is also a check of it.

    python benchmarks/race_study.py run NET SEED RECIPE   # marks of averaged trainings and full retrainings, resumable
    python benchmarks/race_study.py table                 # what each way of extending them would have predicted

Every net here was looked at while the race was designed: none of them is evidence for it. That is in limit_truth.py.
"""

import argparse
import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shared_data
import torch
import torch.nn.functional as F
from pages import put
from torch import Tensor, nn

from howsparse.weights import load_weights
from howsparse.zoo import build_model

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "race_study.json"
FOLDER = Path("runs/race_study")
BATCH = 128
EVALUATED = 10_000
MARKS = (0.5, 0.75, 1, 1.5, 2, 3, 4)  # epochs
DENSITIES = (2.8, 2.0, 1.4, 1.0, 0.7)  # multiples of 0.10 kept_one_shot^0.7


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet() -> nn.Module:
    features = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU()]
    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, nn.MaxPool2d(2), nn.Flatten(), *head)


def cnn_with_batch_norm() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 10))


def resnet20() -> nn.Module:
    net = build_model("resnet20", (3, 32, 32), 10)
    load_weights(net, shared_data.ROOT / "resnet20_cifar10.safetensors")
    return net


@dataclass(frozen=True)
class Net:
    """Data, samples, network, epochs of dense training, L1 penalty, weight decay."""

    data: Callable[[], object]
    samples: int
    make: Callable[[], nn.Module]
    epochs: int = 12
    l1: float = 0.0
    decay: float = 0.0


@dataclass(frozen=True)
class Retraining:
    """Optimizer, learning rate, epochs."""

    optimizer: str = "sgd"
    rate: float = 0.05
    epochs: int = 15


NETS = {
    "mnist-plain": Net(shared_data.mnist, 60_000, mlp),
    "mnist-l1": Net(shared_data.mnist, 60_000, mlp, l1=5e-5),
    "fashion-decay": Net(shared_data.fashion_mnist, 60_000, mlp, decay=5e-4),
    "lenet-fashion": Net(shared_data.fashion_mnist, 20_000, lenet),
    "cnnbn": Net(shared_data.cifar10_10k, 10_000, cnn_with_batch_norm, epochs=20, decay=5e-4),
    "resnet20": Net(shared_data.cifar10_10k, 10_000, resnet20, epochs=0),
}
RECIPES = {"base": Retraining(), "adam": Retraining("adam", 1e-3), "r20": Retraining(rate=0.02, epochs=12)}


# --- training ---------------------------------------------------------------------------------------------------------
def prunable(net: nn.Module) -> list[Tensor]:
    return [m.weight for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@torch.no_grad()
def pruned(net: nn.Module, kept: float) -> tuple[nn.Module, list[Tensor]]:
    """A copy that keeps the largest weights, and its masks."""
    twin = copy.deepcopy(net)
    magnitudes = torch.cat([w.abs().flatten() for w in prunable(twin)])
    edge = magnitudes.topk(max(1, round(kept * magnitudes.numel()))).values[-1]
    masks = [(w.abs() >= edge).float() for w in prunable(twin)]
    apply(twin, masks)
    return twin, masks


@torch.no_grad()
def apply(net: nn.Module, masks: list[Tensor]) -> None:
    for weight, mask in zip(prunable(net), masks, strict=True):
        weight.mul_(mask)


@torch.no_grad()
def losses(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    net.eval()
    parts = [F.cross_entropy(net(x[i : i + 500]), y[i : i + 500], reduction="none") for i in range(0, len(x), 500)]
    net.train()
    return torch.cat(parts).double()


def orders(samples: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(samples, generator=generator).split(BATCH)


class Average:
    """Polynomial-decay average of weights and running statistics, eta = 6."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net)

    @torch.no_grad()
    def follow(self, net: nn.Module, step: int) -> None:
        share = min(1.0, 7.0 / (step + 6.0))
        for mine, theirs in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            mine.lerp_(theirs, share) if mine.is_floating_point() else mine.copy_(theirs)


def train(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    how: Retraining,
    *,
    seed: int,
    net_of: Net | None = None,
    masks: list[Tensor] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Cosine schedule per epoch; constant learning rate where ``on_step`` looks at averages."""
    decay, l1 = (net_of.decay, net_of.l1) if net_of is not None else (0.0, 0.0)
    sgd = how.optimizer == "sgd"
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(net.parameters(), lr=how.rate, momentum=0.9, weight_decay=decay)
        if sgd
        else torch.optim.Adam(net.parameters(), lr=how.rate)
    )
    steps = math.ceil(len(x) / BATCH)
    net.train()
    for step, chosen in enumerate(itertools.islice(orders(len(x), seed), how.epochs * steps)):
        if on_step is None:
            for group in optimizer.param_groups:
                group["lr"] = how.rate * 0.5 * (1 + math.cos(math.pi * (step // steps) / how.epochs))
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        if l1:
            for weight in prunable(net):
                assert weight.grad is not None
                weight.grad.add_(weight.detach().sign(), alpha=l1)
        optimizer.step()
        if masks is not None:
            apply(net, masks)
        if on_step is not None:
            on_step(step + 1)


# --- one net ----------------------------------------------------------------------------------------------------------
class Study:
    """One net under one recipe; everything found is written at once."""

    def __init__(self, name: str, seed: int, recipe: str) -> None:
        self.entry, self.how, self.seed = NETS[name], RECIPES[recipe], seed
        arrays = self.entry.data().train.plain()
        self.x, self.y = arrays[list(range(self.entry.samples))]
        self.per = math.ceil(len(self.x) / BATCH)
        self.file = FOLDER / f"{name}-{seed}-{recipe}.json"
        self.net = self._dense(name)
        whole = losses(self.net, self.x, self.y)
        some = torch.randperm(len(whole), generator=torch.Generator().manual_seed(5))[:EVALUATED]
        self.xs, self.ys = self.x[some], self.y[some]
        n = len(whole)
        fresh = {
            "name": name, "seed": seed, "rec": recipe, "L0": float(whole.mean()), "L0s": float(whole[some].mean()),
            "eps": float(whole.std(correction=0)) * math.sqrt((n - BATCH) / ((n - 1) * BATCH)), "per": self.per, "n": n,
            "T": self.how.epochs, "lr": self.how.rate, "kind": self.how.optimizer, "traj": {}, "truth": {},
        }  # fmt: skip
        self.found = json.loads(self.file.read_text()) if self.file.exists() else fresh
        self.found.setdefault("kept_oneshot", self._one_shot())
        self._save()

    def run(self) -> None:
        guess = 0.10 * self.found["kept_oneshot"] ** 0.7
        for factor in DENSITIES:
            self._marks(min(guess * factor, 1.0))
        low, high, kept = None, None, guess
        for _ in range(5):
            if self._truth(kept) > self.found["L0"] + self.found["eps"]:
                low = kept
            else:
                high = kept
            if low and high and high / low < 1.25:
                return
            kept = math.sqrt(low * high) if low and high else (high or low) * (1 / 1.4 if high else 1.4)

    def _dense(self, name: str) -> nn.Module:
        torch.manual_seed(self.seed)
        net, file = self.entry.make(), FOLDER / f"{name}-{self.seed}.pt"
        if file.exists():
            net.load_state_dict(torch.load(file, weights_only=True))
        elif self.entry.epochs:
            how = Retraining(epochs=self.entry.epochs)
            train(net, self.x, self.y, how, seed=self.seed, net_of=self.entry)
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(net.state_dict(), file)
        return net

    def _one_shot(self) -> float:
        low, high = 0.0, 1.0
        base = float(losses(self.net, self.xs, self.ys).mean())
        for _ in range(8):
            middle = (low + high) / 2
            rise = float(losses(pruned(self.net, 1 - middle)[0], self.xs, self.ys).mean()) - base
            low, high = (middle, high) if rise <= self._eps() else (low, middle)
        return 1 - low

    def _eps(self) -> float:
        return float(self.found["eps"])

    def _marks(self, kept: float) -> None:
        key = f"{kept:.5f}"
        if key in self.found["traj"]:
            return
        net, masks = pruned(self.net, kept)
        average, marks = Average(net), []
        epochs = 3 if len(self.x) >= 20_000 else 4
        wanted = {round(mark * self.per) for mark in MARKS}

        def on_step(step: int) -> None:
            average.follow(net, step)
            if step in wanted:
                pair = [float(losses(each, self.xs, self.ys).mean()) for each in (average.net, net)]
                marks.append((step, *pair))

        how = Retraining(self.how.optimizer, self.how.rate, epochs)
        train(net, self.x, self.y, how, seed=200 + self.seed, masks=masks, on_step=on_step)
        self.found["traj"][key] = marks
        self._save()

    def _truth(self, kept: float) -> float:
        key = f"{kept:.5f}"
        if key not in self.found["truth"]:
            net, masks = pruned(self.net, kept)
            train(net, self.x, self.y, self.how, seed=100 + self.seed, masks=masks)
            self.found["truth"][key] = float(losses(net, self.x, self.y).mean())
            self._save()
        return float(self.found["truth"][key])

    def _save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.found))


# --- what would have been predicted -----------------------------------------------------------------------------------
def table() -> None:
    files = sorted(FOLDER.glob("*.json"))
    if files:
        RESULTS.write_text(json.dumps([json.loads(file.read_text()) for file in files], separators=(",", ":")) + "\n")
    spans = ((0.5, 1), (1, 2), (1, 3))
    heads = [f"{a:g}-{b:g} epochs: {line}" for a, b in spans for line in ("straight", "power", "mean")]
    lines = ["| net, recipe | steps an epoch | measured kept | rule of thumb | " + " | ".join(heads) + " |"]
    lines.append("|---" * (4 + len(heads)) + "|")
    for found in json.loads(RESULTS.read_text()):
        true = kept_at({float(k): v for k, v in found["truth"].items()}, found["L0"] + found["eps"])
        errors = [error_of(found, span, line, true) for span in spans for line in ("straight", "power", "mean")]
        rule = 0.10 * found["kept_oneshot"] ** 0.7 / true - 1
        cells = [f"{found['name']}, {found['rec']}", str(found["per"]), f"{true:.4f}", f"{100 * rule:+.0f} %", *errors]
        lines.append("| " + " | ".join(cells) + " |")
    put(HERE.parent / "docs" / "results" / "limit.md", "study", "\n".join(lines))
    print("\n".join(lines))


def error_of(found: dict, span: tuple[float, float], line: str, true: float) -> str:
    per, target = found["per"], found["L0s"] + found["eps"]
    ends = {}
    for kept, marks in found["traj"].items():
        used = [(s, loss) for s, loss, _ in marks if span[0] * per - 1 <= s <= span[1] * per + 1]
        if len(used) > 1 and used[-1][0] >= span[1] * per - 1:
            ends[float(kept)] = end_of(used, 0.8 * found["T"] * per, line)
    if len(ends) < 2:
        return "-"
    return f"{100 * (kept_at(ends, target) / true - 1):+.0f} %"


def end_of(marks: list[tuple[int, float]], steps: float, line: str) -> float:
    x, y = np.log([m[0] for m in marks]), np.sqrt([m[1] for m in marks])
    slope, height = np.polyfit(x, y, 1)
    straight = max(height + slope * math.log(steps), 0.0)
    slope, height = np.polyfit(x, np.log(y), 1)
    power = math.exp(height + slope * math.log(steps))
    return {"straight": straight, "power": power, "mean": (straight + power) / 2}[line] ** 2


def kept_at(points: dict[float, float], target: float) -> float:
    """sqrt(loss) linear in ln(kept), extended beyond the points where it must be."""
    ordered = sorted((math.log(k), math.sqrt(loss)) for k, loss in points.items())
    level = math.sqrt(target)
    pairs = list(itertools.pairwise(ordered))
    inside = [p for p in pairs if p[0][1] > level >= p[1][1]]
    (x0, y0), (x1, y1) = inside[-1] if inside else pairs[-1] if ordered[-1][1] > level else pairs[0]
    return math.exp(x0 + (y0 - level) / (y0 - y1) * (x1 - x0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("net", nargs="?", choices=NETS)
    parser.add_argument("seed", nargs="?", type=int, default=10)
    parser.add_argument("recipe", nargs="?", choices=RECIPES, default="base")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "table":
        table()
    else:
        Study(options.net, options.seed, options.recipe).run()


if __name__ == "__main__":
    main()

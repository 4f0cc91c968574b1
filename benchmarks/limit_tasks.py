"""The tasks on which pruning limits are measured: network, data, how it was trained, how it is retrained.

    python benchmarks/limit_tasks.py NAME SEED

trains the dense network, unless ``runs/limit_truth/NAME-sSEED`` already has it, and says what it is worth.
Data and pretrained weights are read from ``$HOWSPARSE_DATA`` (see ``shared_data.py``).
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import networks
import shared_data
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from howsparse import Recipe, Task
from howsparse.errors import HowsparseError
from howsparse.files import write_atomic
from howsparse.masks import prunable_parameters
from howsparse.task import cross_entropy, input_and_target
from howsparse.training import Training, evaluate
from howsparse.weights import load_weights
from howsparse.zoo import Arrays, Data, build_model

FOLDER = Path("runs/limit_truth")
PLAIN = Recipe(epochs=15, lr=0.05, nesterov=False, weight_decay=0.0, clip=None, keep="last")
L1 = 5e-5


@dataclass(frozen=True)
class TruthTask:
    """One task: ``build(seed)`` gives it with untrained or pretrained weights.

    ``dense`` is the recipe of the dense network, None where it is pretrained; ``retrain`` the one that a re-tuned limit
    belongs to, and ``variants`` are other ones for the same network.
    """

    name: str
    build: Callable[[int], Task]
    dense: Recipe | None
    retrain: Recipe
    seeds: tuple[int, ...]
    variants: Mapping[str, Recipe] = field(default_factory=dict)


def dense_task(name: str, seed: int, folder: Path = FOLDER) -> Task:
    """The task with its dense network in evaluation mode: pretrained, trained before, or trained now and kept."""
    entry = TASKS[name]
    task = entry.build(seed)
    if entry.dense is not None:
        file = folder / f"{name}-s{seed}" / "dense.safetensors"
        if not file.exists():
            _train(task, entry.dense, seed, file)
        _refuse_other_recipe(file, entry.dense)
        load_weights(task.model, file)
    task.model.eval()
    return task


def epsilon(losses: torch.Tensor, batch: int = 128) -> float:
    """Standard deviation of the mean loss of ``batch`` of the n samples, drawn without replacement."""
    n = len(losses)
    batch = min(batch, n // 2)
    return float(losses.double().std(correction=0)) * math.sqrt((n - batch) / ((n - 1) * batch))


@torch.no_grad()
def train_losses(task: Task) -> torch.Tensor:
    """The loss of every training sample, float64, in evaluation mode."""
    assert task.calib is not None
    task.model.eval()
    return torch.cat([task.sample_losses(*task.outputs(task.model, b)).double() for b in task.calib.ordered()])


def _train(task: Task, recipe: Recipe, seed: int, file: Path) -> None:
    weights = list(prunable_parameters(task.model).values())
    training = Training(
        task, recipe, recipe.epochs, epoch_seed=lambda epoch: seed * 1_000_003 + epoch, l1_weights=weights
    )
    started = time.process_time()
    with torch.random.fork_rng():
        for _ in training.run():
            pass
    seconds = (time.process_time() - started) / recipe.epochs
    state = {key: tensor.contiguous() for key, tensor in task.model.state_dict().items()}
    note = {"recipe": json.dumps(recipe.to_plain()), "seconds": f"{seconds:.2f}"}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, save(state, metadata=note))


def _refuse_other_recipe(file: Path, recipe: Recipe) -> None:
    if json.loads(_note(file)["recipe"]) != json.loads(json.dumps(recipe.to_plain())):
        raise HowsparseError(f"{file} was trained by another recipe than the task's; delete it to train anew")


def _note(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as content:
        return dict(content.metadata())


# --- the tasks -------------------------------------------------------------------------------------------------------
@functools.cache
def _data(source: Callable[[], Data], samples: int | None = None) -> Data:
    """The data, un-augmented, of which only the first ``samples`` are for training."""
    data = source()
    if not isinstance(data.train, Arrays):
        return data
    train = data.train.plain()
    train.images, train.labels = train.images[:samples], train.labels[:samples]
    return replace(data, train=train)


def _task(network: str, source: Callable[[], Data], seed: int, **options: Any) -> Task:
    """A network of the zoo, or of networks.py, on data of shared_data.py; nothing is held out for validation."""
    data = _data(source, options.get("samples"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own = getattr(networks, network, None)
        model: nn.Module = build_model(network, data.shape, data.classes) if own is None else own()
    if "weights" in options:
        load_weights(model, shared_data.ROOT / options["weights"])
    return Task(
        model,
        data.train,
        test=data.test,
        loss=data.loss or cross_entropy,
        forward=data.forward or input_and_target,
        metric=data.metric,
        batch_size=options.get("batch_size", 128),
        val_share=0,
        seed=seed,
        name=network,
    )


def _on(source: Callable[[], Data], network: str, **options: Any) -> Callable[[int], Task]:
    """Builds the task of a seed."""
    return functools.partial(_task, network, source, **options)


THREE = (0, 1, 2)
TWELVE = replace(PLAIN, epochs=12)
OTHERS = {
    "adam": replace(PLAIN, optimizer="adam", lr=1e-3),
    "lr.1": replace(PLAIN, lr=0.1),
    "epochs30": replace(PLAIN, epochs=30),
}
CLIPPED = replace(PLAIN, clip=1.0)  # without it LeNet-5 now and then dies in its first epoch
SLOW = replace(PLAIN, lr=0.01)
GENTLE = replace(PLAIN, epochs=12, lr=0.02)
ADAM = replace(PLAIN, optimizer="adam", epochs=12, lr=1e-3)
RESNETS = {name: {"samples": 10_000, "weights": f"{name}_cifar10.safetensors"} for name in
           ("resnet20", "resnet32", "resnet56")}  # fmt: skip

mnist = _on(shared_data.mnist, "lenet-300-100")
fashion = _on(shared_data.fashion_mnist, "lenet-300-100")
lenet5 = _on(shared_data.mnist, "lenet5", samples=20_000)
fc5 = _on(shared_data.cifar10_10k, "fc5", samples=10_000)
fc12 = _on(shared_data.cifar10_10k, "fc12", samples=10_000)

TASKS: dict[str, TruthTask] = {
    entry.name: entry
    for entry in (
        TruthTask("mnist-mlp", mnist, TWELVE, PLAIN, THREE, OTHERS),
        TruthTask("mnist-mlp-l1", mnist, replace(TWELVE, l1=L1), PLAIN, THREE, OTHERS),
        TruthTask("fashion-mlp", fashion, TWELVE, PLAIN, THREE, OTHERS),
        TruthTask("fashion-mlp-l1", fashion, replace(TWELVE, l1=L1), PLAIN, THREE, OTHERS),
        TruthTask("mnist-cnn", lenet5, replace(CLIPPED, epochs=8), CLIPPED, THREE),
        # the paper trains these two for 200 epochs on 50,000 augmented images
        TruthTask("fc5-cifar10-l1", fc5, replace(SLOW, epochs=70, l1=L1), SLOW, THREE),
        TruthTask("fc12-cifar10-l1", fc12, replace(SLOW, epochs=40, l1=L1), SLOW, THREE),
        *(
            TruthTask(name, _on(shared_data.cifar10_10k, name, **options), None, GENTLE, (0,))
            for name, options in RESNETS.items()
        ),
        TruthTask(
            "dncnn",
            _on(shared_data.grey_patches, "dncnn", weights="dncnn_gray_sigma25.safetensors", batch_size=16),
            None,
            ADAM,
            (0,),
        ),
        TruthTask(
            "stories260k",
            _on(shared_data.stories, "stories260k", weights="stories260k.safetensors", batch_size=8),
            None,
            ADAM,
            (0,),
        ),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=TASKS)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = dense_task(options.name, options.seed)
    losses = train_losses(task)
    assert task.test is not None
    test = evaluate(task, task.test)
    metric = "" if task.metric is None else f"{task.metric.name} {test.metric:.4f}, "
    file = FOLDER / f"{options.name}-s{options.seed}" / "dense.safetensors"
    pace = f"; {_note(file)['seconds']} processor seconds an epoch" if file.exists() else ""
    print(
        f"{options.name} seed {options.seed}: train loss {float(losses.mean()):.5f}, epsilon {epsilon(losses):.5f}; "
        f"test {metric}loss {test.loss:.4f}{pace}",
        flush=True,
    )


if __name__ == "__main__":
    main()

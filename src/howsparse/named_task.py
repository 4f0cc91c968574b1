"""A task in the words of a command line: it can be built again in another process, always the same by its seed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from howsparse.errors import HowsparseError
from howsparse.task import Task, cross_entropy, input_and_target
from howsparse.weights import load_weights
from howsparse.zoo import build_model, load_data


@dataclass(frozen=True, kw_only=True)
class NamedTask:
    """Which network on which data; calling it with a seed builds the task.

    Args:
        model: a built-in name, package.module:function or file.py:function.
        data: a built-in name with its folder, npz:FILE, or a function likewise.
        weights: trained weights to start from.
        batch_size: samples a step.
        val_share: share of the training set held out where the data bring no held-out set.
        device: where the network goes.

    Example:
        >>> NamedTask(model="linear", data="digits")(seed=0).train.samples > 1000
        True
    """

    model: str
    data: str
    weights: Path | None = None
    batch_size: int = 128
    val_share: float = 0.1
    device: str = "cpu"

    @property
    def trained(self) -> bool:
        """Whether the network starts from trained weights."""
        return self.weights is not None

    @property
    def origin(self) -> dict[str, Any]:
        """Where model, data and weights come from, for files that may be published."""
        if self.weights is not None and not self.weights.is_file():
            raise HowsparseError(f"no weights file {self.weights}")
        digest = None if self.weights is None else hashlib.sha256(self.weights.read_bytes()).hexdigest()
        parts = {"model": without_folders(self.model), "data": without_folders(self.data)}
        return {**parts, "weights_sha256": digest, "device": self.device}

    def __call__(self, seed: int) -> Task:
        """Build the network, load its weights, and put it together with the data.

        Args:
            seed: decides initial weights and held-out samples.

        Returns:
            The task.

        Raises:
            HowsparseError: unknown names, damaged files, weights that do not fit.
        """
        source = load_data(self.data)
        torch.manual_seed(seed)
        network = build_model(self.model, source.shape, source.classes)
        if self.weights is not None:
            load_weights(network, self.weights)
        return Task(
            network.to(self.device),
            source.train,
            source.val,
            source.test,
            loss=source.loss or cross_entropy,
            forward=source.forward or input_and_target,
            metric=source.metric,
            batch_size=self.batch_size,
            val_share=self.val_share,
            seed=seed,
            name=without_folders(self.model),
        )


def without_folders(spec: str) -> str:
    """A model or data spec without its folders.

    Args:
        spec: as given.

    Returns:
        What may be published.

    Example:
        >>> without_folders("/home/me/nets.py:make"), without_folders("npz:/data/mine.npz"), without_folders("mlp")
        ('nets.py:make', 'npz:mine.npz', 'mlp')
    """
    head, colon, tail = spec.partition(":")
    return f"{Path(head).name}{colon}{Path(tail).name}"

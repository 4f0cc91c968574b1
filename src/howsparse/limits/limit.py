"""``limit``: how sparse a network can go, before it is pruned."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from howsparse.errors import HowsparseError, near
from howsparse.limits.arguments import check_folder, check_recipe, check_task
from howsparse.limits.epsilon import parse_epsilon
from howsparse.limits.result import Limit
from howsparse.limits.search import Search, Watch
from howsparse.limits.settings import LimitSettings
from howsparse.masks.prunable import Pattern
from howsparse.settings import to_plain
from howsparse.task import Task
from howsparse.training import Recipe
from howsparse.training.describe import describe, pattern_names
from howsparse.training.randomness import randomness_of_its_own, repeatable_kernels
from howsparse.training.run import open_run


def limit(  # noqa: PLR0913 - three nouns, four keyword-only options and the settings
    task: Task,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] | None = None,
    watch: Watch | None = None,
    origin: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Limit:
    """Say how sparse the task's network can go: one-shot (measured), re-tuned under a recipe (predicted), the paper's.

    The one-shot limit is the largest sparsity at which global magnitude pruning, without retraining, keeps the training
    loss within ε of the dense network's. The re-tuned limit is the sparsity from which retraining the kept weights by
    *this recipe* brings the loss back within ε; it is predicted by short masked trainings, with an interval. The
    paper's limit is the width formula of arXiv 2306.05857 on the loss's curvature. The network is left as it was.

    Args:
        task: network and data. Losses are compared on its frozen training pass, ``task.calib``.
        recipe: the retraining that the re-tuned limit belongs to.
        out: directory for the result and for resuming; without one nothing is kept on disk.
        seed: decides samples, probes and data order.
        include: which parameters compete, see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        watch: an onlooker.
        origin: recorded with the settings: where model, data and weights came from.
        **settings: see `LimitSettings`: ``eps``, ``minutes``, ``race_epochs``, ``curvature_epochs``, ``verify`` ...

    Returns:
        The limits; ``str()`` gives them in a line.

    Raises:
        HowsparseError: settings, task, recipe or directory do not fit, a loss that is not finite, data that change
            between passes, weights that hold NaN.
        RunMismatchError: the directory belongs to other settings.

    Example:
        >>> import torch
        >>> from howsparse.zoo import load_data
        >>> _ = torch.manual_seed(0)
        >>> data = torch.utils.data.TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        >>> task = Task(torch.nn.Linear(8, 2), data, val_share=0)
        >>> found = limit(task, race_epochs=0, curvature_epochs=0)
        >>> 0 <= found.one_shot.value <= 1
        True
    """
    check_task(task, "limit")
    recipe = Recipe() if recipe is None else recipe
    check_recipe(recipe)
    if out is not None:
        check_folder(out)
    chosen = _settings(settings)
    if not isinstance(seed, int) or seed < 0:
        raise HowsparseError(f"seed = {seed!r} is not allowed: it must be a whole number, not negative")
    with _left_as_it_was(task.model):
        _refuse_bad_start(task, chosen)
    about = {
        "command": "limit",
        "settings": {name: value for name, value in to_plain(chosen).items() if name != "verify"},
        "recipe": recipe.to_plain(),
        "seed": seed,
        "include": pattern_names(include),
        "exclude": pattern_names(exclude),
        "task": describe(task),
        "weights": _digest(task.model),
        "origin": dict(origin or {}),
    }
    with ExitStack() as stack:
        stack.enter_context(_left_as_it_was(task.model))
        run = open_run(stack, out, about, every=20.0)
        stack.enter_context(randomness_of_its_own(task.device))
        stack.enter_context(repeatable_kernels(task.device))
        search = Search(task, recipe, chosen, seed, run, watch=watch, include=include, exclude=exclude)
        return search.finish()


def _settings(given: Mapping[str, Any]) -> LimitSettings:
    known = [field.name for field in fields(LimitSettings)]
    for name in given:
        if name not in known:
            raise HowsparseError(f"limit() has no setting {name!r}: it has {', '.join(known)}{near(name, known)}")
    return LimitSettings(**given)


def _refuse_bad_start(task: Task, settings: LimitSettings) -> None:
    for name, parameter in task.model.named_parameters():
        bad = int((~parameter.detach().isfinite()).sum())
        if bad:
            raise HowsparseError(f"{name} holds {bad} weights that are NaN or infinite; load sound weights first")
    learns = any(p.requires_grad for p in task.model.parameters())
    if not learns and (settings.race_epochs or settings.curvature_epochs):
        raise HowsparseError(
            f"{task.name}: no parameter of the network wants gradients, so neither curvature nor retraining is "
            "possible; race_epochs=0, curvature_epochs=0 leaves the one-shot limit"
        )
    by_accuracy = parse_epsilon(str(settings.eps)).rule == "calibrated"
    if by_accuracy and (task.val is None or task.metric is None or task.metric.name != "accuracy"):
        raise HowsparseError(
            f"eps = {settings.eps} looks at held-out accuracy: give the task val= and metric=accuracy()"
        )
    task.probe()


def _digest(model: nn.Module) -> str:
    """A limit is that of these weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards every module is in the mode it was in, and every parameter has the gradient it had."""
    modes = {module: module.training for module in model.modules()}
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, gradient in gradients.items():
            parameter.grad = gradient

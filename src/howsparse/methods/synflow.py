"""SynFlow: prune before training, without data, preserving synaptic flow (Tanaka et al., NeurIPS 2020)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.schedules import exponential, removed_at
from howsparse.scores import synaptic_flow_masks
from howsparse.settings import setting
from howsparse.task import Task, to_device


@dataclass(frozen=True, kw_only=True)
class SynFlow(StepwiseMethod):
    """Remove the weights that carry least synaptic flow, a little at a time, then train.

    Round j of n leaves ``(1 - sparsity)^(j/n)`` of the weights. Labels and inputs are not looked at; in a loop of one's
    own ``attach`` needs ``task=`` only for the shape of an input.

    Example:
        >>> import torch
        >>> from howsparse import Task
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 5), torch.randint(0, 2, (40,)))
        >>> task = Task(torch.nn.Linear(5, 2), data)
        >>> SynFlow(sparsity=0.7).attach(task.model, task=task).sparsity
        0.7
    """

    name: ClassVar[str] = "synflow"
    about: ClassVar[str] = "before training and without data, remove what carries least synaptic flow"
    source: ClassVar[str] = "arXiv 2006.05467"

    rounds: int = setting(100, "how often to score and remove", at_least=1)

    def check_fits(self, task: Task) -> None:
        """An input must be a tensor."""
        _example(task)

    def start(self, pruner: StepwisePruner) -> Masks:
        """Remove in rounds whose densities fall geometrically."""
        masks = pruner.masks
        first, last = masks.sparsity, max(masks.sparsity, self.sparsity)
        targets = (exponential(nth, 0, self.rounds, first=first, last=last) for nth in range(1, self.rounds + 1))
        removed = [removed_at(target, masks.total) for target in targets]
        return synaptic_flow_masks(pruner.model, pruner.parameters, _example(pruner.task), removed, masks=masks)


def _example(task: Task | None) -> Tensor:
    """A batch of inputs, for its shape."""
    if task is None:
        raise HowsparseError("SynFlow needs the shape of an input: attach(model, optimizer, task=hs.Task(model, data))")
    batch = to_device(next(iter(task.train.ordered())), task.device)
    first = batch if isinstance(batch, Tensor) else batch[0] if isinstance(batch, tuple | list) else None
    if not isinstance(first, Tensor):
        raise HowsparseError(
            f"SynFlow needs batches whose first part is the input tensor; the training data give {type(batch).__name__}"
        )
    return first

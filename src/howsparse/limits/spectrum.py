"""``spectrum``: the eigenvalues of a network's curvature, of all its prunable weights or of one layer's."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from howsparse.curvature import GaussNewton, Hessian, Objective, Operator, Spectrum, slq
from howsparse.curvature.coreset import uniform
from howsparse.errors import HowsparseError, near
from howsparse.limits.arguments import check_counts, check_task
from howsparse.masks import prunable_parameters
from howsparse.masks.prunable import Pattern
from howsparse.task import Task
from howsparse.training.randomness import randomness_of_its_own, repeatable_kernels

Curvature = Literal["ggn", "hessian"]


def spectrum(  # noqa: PLR0913 - what is looked at, and keyword-only how closely
    task: Task,
    curvature: Curvature = "ggn",
    layer: str | None = None,
    *,
    samples: int = 2000,
    probes: int = 4,
    steps: int = 40,
    seed: int = 0,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Spectrum:
    """Estimate the spectrum of the mean training loss's curvature at the task's network, by stochastic Lanczos.

    The loss is that of samples drawn once from the frozen training pass, in evaluation mode. A part of n samples bends
    fewer directions than all of them (with C classes the Gauss-Newton matrix has rank n (C - 1) at most), and bends
    those more: for the whole data set's share of flat directions take all samples. A layer's curvature is the principal
    submatrix that belongs to its weights. Costs about 2.5 gradients per sample, probe and step.

    Args:
        task: network and data; left as it was.
        curvature: ``ggn``, the Gauss-Newton matrix (no negative eigenvalues; brackets can be given), or ``hessian``
            (signed eigenvalues, nothing encloses).
        layer: name of one prunable parameter, such as ``fc1.weight``; None for all together.
        samples: how many are drawn; all when there are not more. Iterable data are read whole only.
        probes: random vectors; error bars come from their spread.
        steps: Lanczos steps a probe, the size of the matrix at most.
        seed: of samples and probes.
        include: which parameters there are, see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        on_step: called with the steps done and to do.

    Returns:
        A `Spectrum`.

    Raises:
        HowsparseError: an unknown curvature or layer, counts below one, a task whose data have no fixed order, or a
            loss that is not finite, that does not bend, or that changes from pass to pass.

    Source: Ubaru, Chen, Saad, SIAM J. Matrix Anal. Appl. 38, 2017; for networks Ghorbani et al., arXiv 1901.10159.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> data = torch.utils.data.TensorDataset(torch.randn(64, 3), torch.randint(0, 2, (64,)))
        >>> found = spectrum(Task(torch.nn.Linear(3, 2), data, val_share=0))
        >>> found.D, found.smallest < 1e-6 < found.largest  # softmax: shifting all outputs alike changes nothing
        (6, True)
    """
    check_task(task, "spectrum")
    check_counts(samples=samples, probes=probes, steps=steps)
    if curvature not in get_args(Curvature):
        raise HowsparseError(f"curvature = {curvature!r} is unknown: it is one of {', '.join(get_args(Curvature))}")
    parameters = prunable_parameters(task.model, include=include, exclude=exclude)
    if layer is not None and layer not in parameters:
        raise _unknown(layer, list(parameters))
    task.probe()
    with randomness_of_its_own(task.device), repeatable_kernels(task.device):
        whole = Objective.of(task, parameters if layer is None else {layer: parameters[layer]})
        whole.check_repeatable()
        top = uniform(whole, samples, seed).top
        operator: Operator = GaussNewton(top) if curvature == "ggn" else Hessian(top)
        return slq(
            operator,
            psd=curvature == "ggn",
            certify=False,
            probes=probes,
            steps=min(steps, top.size),
            seed=seed,
            samples=top.samples,
            on_step=None if on_step is None else lambda _, done, most: on_step(done, most),
        )


def _unknown(layer: object, known: Sequence[str]) -> HowsparseError:
    """The error for a layer that is not there; names those that it may have meant: parts of names count."""
    meant = [name for name in known if str(layer).lower() in name.lower()]
    hint = f"; did you mean {', '.join(meant[:3])}?" if meant and layer else near(str(layer), known)
    some = f"{', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
    return HowsparseError(f"layer {layer!r} is not among the prunable parameters: {some}{hint}")

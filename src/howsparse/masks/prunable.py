"""Which parameters of a network a mask may touch."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from howsparse.errors import HowsparseError, near

Pattern = str | type[nn.Module]

_PRUNABLE_MODULES = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def prunable_parameters(
    model: nn.Module, *, include: Sequence[Pattern] | None = None, exclude: Sequence[Pattern] | None = None
) -> dict[str, nn.Parameter]:
    """The weights that compete: names to parameters, in registration order.

    By default the weights of linear, convolution, transposed convolution, attention and recurrent modules that have two
    or more dimensions; never biases, normalisation, embeddings, or a tensor tied to an embedding. A tensor shared by
    several modules appears once, under its first name.

    Args:
        model: the network.
        include: replaces the default rule: every parameter with two or more dimensions whose name matches one of these
            shell patterns (``"layer3.*"``), or that belongs to a module of one of these types.
        exclude: takes away from the choice, same forms.

    Returns:
        A non-empty dictionary from parameter name to parameter.

    Raises:
        HowsparseError: nothing is prunable, a pattern matches nothing, the model carries masks of
            ``torch.nn.utils.prune``, or parameters are not initialised yet.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> list(prunable_parameters(net))
        ['0.weight', '2.weight']
        >>> list(prunable_parameters(net, exclude=["2.*"]))
        ['0.weight']
    """
    owners = _owners(model)
    _refuse_foreign_forms(model)
    if include is None:
        _refuse_parametrized(model)
    candidates = {name: p for name, p in model.named_parameters() if p.dim() >= 2}
    if include is None:
        chosen = [n for n, p in candidates.items() if p.is_floating_point() and _by_default(n, owners[id(p)])]
    else:
        chosen = _matching(include, candidates, owners, "include")
    dropped = set(_matching(exclude, {n: candidates[n] for n in chosen}, owners, "exclude") if exclude else ())
    kept = {name: candidates[name] for name in chosen if name not in dropped}
    if not kept:
        raise HowsparseError(
            f"{type(model).__name__} has no prunable parameter"
            + (" after include/exclude" if include or exclude else "")
            + ": weights of linear, convolution, attention or recurrent modules with two or more dimensions are "
            'prunable by default; name others with include=["pattern"]. '
            + (f"Parameters with two or more dimensions: {', '.join(candidates) or 'none'}.")
        )
    return kept


def _owners(model: nn.Module) -> dict[int, list[nn.Module]]:
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    return owners


def _by_default(name: str, owners: list[nn.Module]) -> bool:
    own_name = name.rpartition(".")[2]
    if own_name.startswith("bias") or own_name.endswith("_g"):  # attention's bias_k; the lengths of weight norm
        return False
    if any(isinstance(owner, _EMBEDDINGS) for owner in owners):
        return False
    return any(isinstance(owner, _PRUNABLE_MODULES) for owner in owners)


def _matching(
    patterns: Sequence[Pattern], candidates: dict[str, nn.Parameter], owners: dict[int, list[nn.Module]], word: str
) -> list[str]:
    if isinstance(patterns, str | type):
        raise HowsparseError(f"{word} must be a list of patterns or module types, got the single value {patterns!r}")
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name, p in candidates.items() if _matches(pattern, name, owners[id(p)])}
        if not hits:
            text = pattern if isinstance(pattern, str) else pattern.__name__
            raise HowsparseError(
                f"{word} pattern {text!r} matches no prunable tensor: there is {', '.join(list(candidates)[:6])}"
                f"{' ...' if len(candidates) > 6 else ''}{near(text, candidates)}"
            )
        found |= hits
    return [name for name in candidates if name in found]


def _matches(pattern: Pattern, name: str, owners: list[nn.Module]) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(name, pattern)
    return any(isinstance(owner, pattern) for owner in owners)


def _refuse_foreign_forms(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise HowsparseError(f"parameter {name} is not initialised: run one forward pass through the model first")
        if name.endswith("_orig") and name.removesuffix("_orig") + "_mask" in dict(model.named_buffers()):
            raise HowsparseError(
                f"{name} carries a mask of torch.nn.utils.prune; take it over with Masks.from_torch_prune(model), "
                "which hands back the masks and removes the hooks"
            )


def _refuse_parametrized(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _PRUNABLE_MODULES) and parametrize.is_parametrized(module):
            raise HowsparseError(
                f"the weight of {name or 'the model'} is made by a parametrization, out of our reach: take it off "
                "with torch.nn.utils.parametrize.remove_parametrizations, or name what should be pruned with include="
            )


def detached(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The same tensors outside autograd (no copy)."""
    return dict(_detach(parameters))


def _detach(parameters: dict[str, nn.Parameter]) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in parameters.items():
        yield name, parameter.detach()

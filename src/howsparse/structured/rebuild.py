"""Rebuild a compacted network from the class it was made from.

This file stands by itself: it needs torch and safetensors, and nothing else. In the folder with plan.json and
model.safetensors:

    from rebuild import rebuild
    network = rebuild(MyNetwork())          # a new instance of the original class, of the original size

or, to look whether all fits: python rebuild.py my_nets.py:make
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FORMAT, VERSION = "howsparse-plan", 1
PLAN, WEIGHTS = "plan.json", "model.safetensors"


class Passed(nn.Module):
    """Stands where a module was removed that had become the identity: gives its first argument back."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Give x back."""
        return x


class Vanished(nn.Module):
    """Stands where a module was removed that had become zero: gives zeros in the shape of its first argument."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Zeros like x."""
        return torch.zeros_like(x)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, shapes and types of everything in a network's state dict."""
    lines = [f"{name} {tuple(t.shape)} {t.dtype}" for name, t in model.state_dict().items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def rebuild(model: nn.Module, folder: "str | Path | None" = None) -> nn.Module:
    """Make the small network of a folder.

    Args:
        model: a new instance of the original class, built as the original was; it is changed and returned.
        folder: holds plan.json and model.safetensors; by default the folder of this file.

    Returns:
        The small network with its weights, in evaluation mode.

    Raises:
        ValueError: the plan was made for another network, or the files are absent or damaged.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    apply_plan(model, read_plan(folder / PLAN))
    weights = load_file(folder / WEIGHTS)
    missing, unknown = model.load_state_dict(weights, strict=False)
    if missing or unknown:
        raise ValueError(f"{WEIGHTS} does not belong to {PLAN}: missing {missing[:5]}, unknown {unknown[:5]}")
    return model.eval()


def read_plan(path: Path) -> "dict[str, Any]":
    """The plan in a file.

    Raises:
        ValueError: absent, damaged, or of a later version.
    """
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the plan {path}: {error}") from error
    if not isinstance(plan, dict) or plan.get("format") != FORMAT:
        raise ValueError(f"{path} is not a plan file: its format must be {FORMAT!r}")
    if plan.get("version") != VERSION:
        raise ValueError(f"{path} has version {plan.get('version')!r}; this code reads version {VERSION}")
    for key, kind in (("keep", dict), ("removed", list), ("zeroed", list), ("attributes", dict)):
        if not isinstance(plan.get(key), kind):
            raise ValueError(f"{path} is damaged: {key!r} must be a JSON {'object' if kind is dict else 'list'}")
    return plan


def apply_plan(model: nn.Module, plan: "dict[str, Any]") -> None:
    """Cut a network of the original size down, in place: take modules out, keep the indices named, set attributes.

    Raises:
        ValueError: the network is not the one that the plan was made for.
    """
    if fingerprint(model) != plan["model_fingerprint"]:
        raise ValueError(_unlike(model, plan))
    for key, stand_in in (("removed", Passed), ("zeroed", Vanished)):
        for name in plan[key]:
            prefix, _, own = name.rpartition(".")
            model.get_submodule(prefix)._modules[own] = stand_in()  # noqa: SLF001
    for name, dims in plan["keep"].items():
        _cut(model, name, {int(dim): torch.tensor(kept) for dim, kept in dims.items()})
    for module in model.modules():
        _tell_sizes(module)
    for name, values in plan["attributes"].items():
        for attribute, value in values.items():
            setattr(model.get_submodule(name), attribute, value)


def _unlike(model: nn.Module, plan: "dict[str, Any]") -> str:
    have = model.state_dict()
    absent = [name for name in plan["keep"] if name not in have]
    why = f": it has no {', '.join(absent[:5])}" if absent else ": its tensors have other names, shapes or types"
    return (
        f"the plan was made for another network than this {type(model).__name__}{why}. Build the network as it was "
        "before it was compacted (same class, same arguments), not the small one"
    )


def _cut(model: nn.Module, name: str, kept: "dict[int, Tensor]") -> None:
    """Keep some indices of a parameter or buffer, under every name that it has."""
    prefix, _, own = name.rpartition(".")
    old = getattr(model.get_submodule(prefix), own)
    new = old.detach()
    for dim, indices in kept.items():
        new = new.index_select(dim, indices.to(new.device))
    new = new.contiguous()
    small = nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
    for module in model.modules():
        for held in (module._parameters, module._buffers):  # noqa: SLF001
            for key, tensor in held.items():
                if tensor is old:
                    held[key] = small


def _tell_sizes(module: nn.Module) -> None:
    """Let the sizes that torch's modules hold follow their weights."""
    weight = module._parameters.get("weight")  # noqa: SLF001
    if weight is None:
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        module.in_channels = weight.shape[0]
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        module.out_channels = weight.shape[0]
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = weight.shape[1]


def _main(spec: str) -> None:
    place, _, name = spec.rpartition(":")
    sys.path.insert(0, str(Path(place).resolve().parent))
    found = importlib.util.spec_from_file_location("original", place)
    if found is None or found.loader is None:
        raise SystemExit(f"{place} is no Python file; give path/to/file.py:function")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    network = rebuild(getattr(module, name)())
    print(f"rebuilt: {sum(p.numel() for p in network.parameters()):,} parameters")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python rebuild.py path/to/file.py:function")
    _main(sys.argv[1])

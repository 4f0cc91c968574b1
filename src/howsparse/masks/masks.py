"""Which weights live: boolean tensors by parameter name, with set algebra and exact counts."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from howsparse.errors import HowsparseError
from howsparse.files import write_atomic

_KEY = "howsparse-masks"
_VERSION = 1


class Masks(Mapping[str, Tensor]):
    """Names to boolean tensors; True means the weight lives. Immutable: every operation gives new masks.

    ``a & b`` lives in both, ``a | b`` in either, ``a - b`` in a but not in b, ``~a`` where a does not; ``a <= b`` says
    that a is nested in b. Sparsity is the fraction removed, density the fraction kept.

    Args:
        tensors: boolean tensors by name; 0/1 tensors of other types are converted.

    Raises:
        HowsparseError: empty, or a tensor with values other than 0 and 1.

    Example:
        >>> masks = Masks({"w": torch.tensor([[True, False], [True, True]])})
        >>> masks.total, masks.active, masks.sparsity
        (4, 3, 0.25)
        >>> (~masks).active
        1
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            raise HowsparseError("masks need at least one tensor")
        self._tensors = {name: _as_bool(name, tensor) for name, tensor in tensors.items()}

    @classmethod
    def dense(cls, weights: Mapping[str, Tensor]) -> "Masks":
        """Everything lives: masks of ones with the shapes and devices of ``weights``."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})

    @classmethod
    def from_zeros(cls, weights: Mapping[str, Tensor]) -> "Masks":
        """Live where a weight is not exactly zero: the masks of an already pruned network."""
        return cls({name: w.detach() != 0 for name, w in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Masks({len(self)} tensors, {self.active:,} of {self.total:,} live, sparsity {self.sparsity:.4f})"

    # --- counts -----------------------------------------------------------------------------------------------------
    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @property
    def active(self) -> int:
        """Number of weights that live."""
        return sum(int(mask.count_nonzero()) for mask in self.values())

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.active / self.total

    @property
    def sparsity(self) -> float:
        """Fraction removed."""
        return (self.total - self.active) / self.total

    # --- set algebra ------------------------------------------------------------------------------------------------
    def __and__(self, other: "Masks") -> "Masks":
        return self._zip(other, torch.logical_and)

    def __or__(self, other: "Masks") -> "Masks":
        return self._zip(other, torch.logical_or)

    def __sub__(self, other: "Masks") -> "Masks":
        return self._zip(other, lambda a, b: a & ~b)

    def __invert__(self) -> "Masks":
        return Masks({name: ~mask for name, mask in self.items()})

    def __le__(self, other: "Masks") -> bool:
        return (self - other).active == 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks) or list(self) != list(other):
            return False
        return all(torch.equal(mask, other[name].to(mask.device)) for name, mask in self.items())

    __hash__ = None  # type: ignore[assignment]  # tensors inside: compared by value, not hashable

    def _zip(self, other: "Masks", combine: Callable[[Tensor, Tensor], Tensor]) -> "Masks":
        other.check(self)
        return Masks({name: combine(mask, other[name].to(mask.device)) for name, mask in self.items()})

    # --- on weights -------------------------------------------------------------------------------------------------
    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse weights whose names or shapes differ from the masks'.

        Raises:
            HowsparseError: names the tensors that differ.
        """
        missing, extra = [n for n in self if n not in weights], [n for n in weights if n not in self]
        if missing or extra:
            raise HowsparseError(
                f"masks and weights name different tensors: without a weight {missing[:5] or 'none'}, "
                f"without a mask {extra[:5] or 'none'}"
            )
        for name, mask in self.items():
            if mask.shape != weights[name].shape:
                raise HowsparseError(
                    f"mask {name} has shape {tuple(mask.shape)}, its weight has {tuple(weights[name].shape)}"
                )

    @torch.no_grad()
    def apply_(self, weights: Mapping[str, Tensor]) -> None:
        """Set every removed weight to zero, in place."""
        self.check(weights)
        for name, mask in self.items():
            weights[name].masked_fill_(~mask.to(weights[name].device), 0)

    # --- files ------------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write the masks to a safetensors file, eight weights a byte.

        Raises:
            HowsparseError: the file cannot be written.
        """
        shapes = {name: list(mask.shape) for name, mask in self.items()}
        # one entry, because safetensors writes several in an order that changes from run to run
        metadata = {_KEY: json.dumps({"version": _VERSION, "shapes": shapes})}
        write_atomic(Path(path), save(self.packed(), metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> "Masks":
        """Read masks written by `save`.

        Raises:
            HowsparseError: the file is absent, damaged, or not a mask file of this version.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                if about.get("version") != _VERSION:
                    raise HowsparseError(f"{path} is not a howsparse mask file of version {_VERSION}")
                shapes = about["shapes"]
                return cls.unpacked({name: file.get_tensor(name) for name in shapes}, shapes)
        except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
            if isinstance(error, HowsparseError):
                raise
            raise HowsparseError(f"cannot read masks from {path}: {error}") from error

    def packed(self) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        """Each mask as bytes: row-major bits, the first weight in the highest bit of the first byte."""
        return {name: np.packbits(mask.cpu().numpy().reshape(-1)) for name, mask in self.items()}

    @classmethod
    def unpacked(cls, bits: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> "Masks":
        """The inverse of `packed`."""
        masks = {}
        for name, shape in shapes.items():
            count = int(np.prod(shape, dtype=np.int64))
            if np.asarray(bits[name]).size != -(-count // 8):
                raise HowsparseError(f"mask {name} is damaged: {np.asarray(bits[name]).size} bytes for {count} weights")
            flat = np.unpackbits(np.asarray(bits[name]), count=count).astype(bool)
            masks[name] = torch.from_numpy(flat.reshape(shape))
        return cls(masks)

    # --- torch.nn.utils.prune ---------------------------------------------------------------------------------------
    @classmethod
    def from_torch_prune(cls, model: nn.Module) -> "Masks":
        """Take the masks over from ``torch.nn.utils.prune``; its hooks are removed and the zeros stay in the weights.

        Raises:
            HowsparseError: the model carries no such mask.
        """
        masks = {}
        for prefix, module in model.named_modules():
            for buffer in [n for n, _ in module.named_buffers(recurse=False) if n.endswith("_mask")]:
                tensor = buffer.removesuffix("_mask")
                if hasattr(module, tensor + "_orig"):
                    masks[f"{prefix}.{tensor}" if prefix else tensor] = getattr(module, buffer).bool().clone()
                    torch_prune.remove(module, tensor)
        if not masks:
            raise HowsparseError(f"{type(model).__name__} carries no mask of torch.nn.utils.prune")
        return cls(masks)

    def to_torch_prune(self, model: nn.Module) -> None:
        """Hand the masks to ``torch.nn.utils.prune``: afterwards the model holds ``*_orig`` and ``*_mask`` tensors."""
        self.check({name: model.get_parameter(name) for name in self})
        for name, mask in self.items():
            prefix, _, tensor = name.rpartition(".")
            torch_prune.custom_from_mask(model.get_submodule(prefix), tensor, mask)


def _as_bool(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.bool:
        return tensor.contiguous()  # positions are row-major, whatever the weight's memory format
    if not bool(((tensor == 0) | (tensor == 1)).all()):
        raise HowsparseError(f"mask {name} holds values other than 0 and 1")
    return tensor.bool().contiguous()

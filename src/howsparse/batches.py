"""Batches: passes over data in an order drawn from a seed, whole or one process's share of each batch."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset, default_collate

from howsparse.errors import HowsparseError


class Share(NamedTuple):
    """What one process sees of a batch.

    ``scale`` turns the *sum* of this share's sample losses into its part of the whole batch's mean, once gradients are
    averaged over processes; None means the share is the whole batch, of a size only its reader knows.
    """

    batch: Any
    scale: float | None


class Batches:
    """One split of a task's data, seen as passes of batches.

    Map-style data (a dataset, or a DataLoader over one) is read in an order that depends on the pass's seed alone, so
    that a run can be repeated and resumed. A DataLoader with a sampler of its own, or an iterable, is passed through.
    Every shuffled pass first seeds the global generators of torch, numpy and Python, which augmentation may use.

    Args:
        source: a DataLoader, a map-style dataset, or a re-iterable of batches.
        batch_size: used when ``source`` is a dataset.
        name: the split, for messages.
        indices: restricts map-style data to these samples.

    Raises:
        HowsparseError: no data, or a one-shot iterator.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.arange(5.0))
        >>> [batch[0].tolist() for batch in Batches(data, batch_size=2).ordered()]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self, source: Any, *, batch_size: int = 128, name: str = "data", indices: Sequence[int] | None = None
    ) -> None:
        if isinstance(source, Iterator):
            raise HowsparseError(f"{name}: an iterator can be read only once; give a list, dataset or DataLoader")
        self.name = name
        self._source = source
        self._loader = source if isinstance(source, DataLoader) else None
        self.dataset = _map_style(source)
        self._indices = indices
        if self.dataset is not None:
            self.batch_size = self._loader_batch_size(batch_size)
            self.samples: int | None = len(indices if indices is not None else self.dataset)  # type: ignore[arg-type]
            if self.samples == 0:
                raise HowsparseError(f"{name}: the data set is empty")
        else:
            self.samples = None

    def __len__(self) -> int:
        """Batches in one pass.

        Raises:
            HowsparseError: iterable data of unknown length.
        """
        if self.samples is not None:
            drop = self._loader is not None and self._loader.drop_last
            return max(1, self.samples // self.batch_size if drop else -(-self.samples // self.batch_size))
        if not hasattr(self._source, "__len__"):
            raise HowsparseError(f"{self.name}: iterable data needs a length; wrap it in a list or give it __len__")
        return len(self._source)

    def shuffled(self, seed: int, *, rank: int = 0, world: int = 1, skip: int = 0) -> Iterator[Share]:
        """One pass in an order drawn from ``seed``.

        Args:
            seed: decides the order and everything random in augmentation.
            rank: this process.
            world: number of processes; each reads its share of every batch.
            skip: batches to leave out at the front.

        Yields:
            This process's share of each batch. A share that would be empty holds one sample at scale 0, because every
            process must take part in every step.
        """
        _seed_everything(seed + 1_000_003 * rank)
        if self.dataset is None or not self._reorderable():
            yield from self._foreign(world, skip)
            return
        order = self._positions()
        if self._wants_shuffle():
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))]
        yield from self._read(order, rank, world, skip)

    def ordered(self, *, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """One pass in the data's own order, for evaluation; ``rank`` reads every ``world``-th batch."""
        if self.dataset is None or not self._reorderable():
            yield from (batch for i, batch in enumerate(self._source) if i % world == rank)
            return
        chunks = self._positions().split(self.batch_size)[rank::world]
        yield from self._load([chunk.tolist() for chunk in chunks])

    def frozen(self) -> "Batches | None":
        """The same samples in order and without augmentation, or None when the data cannot promise that."""
        if self.dataset is None:
            return None
        plain = self.dataset.plain() if hasattr(self.dataset, "plain") else self.dataset
        return Batches(plain, batch_size=self.batch_size, name="calib", indices=self._indices)

    def hold_out(self, share: float, seed: int) -> "tuple[Batches, Batches]":
        """Split map-style data into ``(rest, held out)``, the latter un-augmented where the data offers ``plain()``.

        Raises:
            HowsparseError: iterable data, or too few samples to split.
        """
        if self.dataset is None or not self._reorderable():
            raise HowsparseError(
                f"{self.name}: iterable data cannot be split; bring held-out data with Task(..., val=...)"
            )
        positions = self._positions()
        count = round(share * len(positions))
        if not 0 < count < len(positions):
            raise HowsparseError(f"{self.name}: {len(positions)} samples are too few to hold out a share of {share}")
        order = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))]
        out, rest = order[:count].sort().values, order[count:].sort().values
        held = Batches(self.dataset, batch_size=self.batch_size, name="val", indices=out.tolist()).frozen()
        train = Batches(self._source, batch_size=self.batch_size, name=self.name, indices=rest.tolist())
        assert held is not None
        return train, held

    # --- reading ----------------------------------------------------------------------------------------------------
    def _loader_batch_size(self, default: int) -> int:
        sampler = getattr(self._loader, "batch_sampler", None)
        if self._loader is None:
            return default
        return int(self._loader.batch_size or getattr(sampler, "batch_size", None) or default)

    def _reorderable(self) -> bool:
        """Whether we may draw the order: plain datasets, and loaders with torch's own two samplers."""
        if self._loader is None:
            return True
        plain_sampler = type(self._loader.sampler) in (SequentialSampler, torch.utils.data.RandomSampler)
        return plain_sampler and type(self._loader.batch_sampler) is BatchSampler

    def _wants_shuffle(self) -> bool:
        return self._loader is None or not isinstance(self._loader.sampler, SequentialSampler)

    def _positions(self) -> torch.Tensor:
        if self._indices is not None:
            return torch.as_tensor(self._indices, dtype=torch.int64)
        return torch.arange(len(self.dataset))  # type: ignore[arg-type]

    def _read(self, order: torch.Tensor, rank: int, world: int, skip: int) -> Iterator[Share]:
        whole = order.split(self.batch_size)[: len(self)][skip:]
        shares = [chunk[rank::world].tolist() or chunk[:1].tolist() for chunk in whole]
        scales = [world / len(chunk) if len(chunk) > rank else 0.0 for chunk in whole]
        yield from map(Share, self._load(shares), scales)

    def _load(self, chunks: list[list[int]]) -> Iterable[Any]:
        """Batches of the given samples; data sets that can gather a whole batch at once are asked to."""
        assert self.dataset is not None
        loader = self._loader
        collates = loader is not None and loader.collate_fn is not default_collate
        if _gathers(self.dataset) and not collates and (loader is None or loader.num_workers == 0):
            return (self.dataset[chunk] for chunk in chunks)
        return DataLoader(
            self.dataset,
            batch_sampler=chunks,
            collate_fn=None if loader is None else loader.collate_fn,
            num_workers=0 if loader is None else loader.num_workers,
            pin_memory=loader is not None and loader.pin_memory,
            worker_init_fn=None if loader is None else loader.worker_init_fn,
        )

    def _foreign(self, world: int, skip: int) -> Iterator[Share]:
        if world > 1:
            raise HowsparseError(f"{self.name}: several processes need map-style data whose order howsparse may draw")
        for position, batch in enumerate(self._source):
            if position >= skip:
                yield Share(batch, None)


def _seed_everything(seed: int) -> None:
    """Seed whatever augmentation and dropout may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - data sets of the user's may use the global generator


def _gathers(dataset: Dataset[Any]) -> bool:
    """Whether a list of indices gives a whole batch at once, the same as collating single samples would."""
    return getattr(dataset, "gathers_batches", False) or type(dataset) is TensorDataset


def _map_style(source: Any) -> Dataset[Any] | None:
    if isinstance(source, DataLoader):
        indexable = hasattr(source.dataset, "__getitem__") and hasattr(source.dataset, "__len__")
        return source.dataset if indexable else None
    if isinstance(source, torch.utils.data.IterableDataset):
        return None
    return source if isinstance(source, Dataset) else None  # a list is a list of batches, not of samples

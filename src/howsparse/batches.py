"""Batches: passes over data in an order drawn from a seed, whole or one process's share of each batch."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from howsparse.errors import HowsparseError


class Share(NamedTuple):
    """What one process sees of a batch.

    ``weight`` turns the *mean* of this share's losses into its part of the whole batch's mean, once gradients are
    averaged over processes: 1 when the share is the whole batch, 0 when the samples are there for company only.
    """

    batch: Any
    weight: float


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
        >>> data = torch.utils.data.TensorDataset(torch.arange(6.0))
        >>> [batch[0].tolist() for batch in Batches(data, batch_size=4).ordered()]
        [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0]]
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
        self._whole = False  # whether samples that the loader would drop for want of a full batch are read too
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
            return len(self._chunks(torch.arange(self.samples)))
        try:
            batches = len(self._source)
        except TypeError as error:
            raise HowsparseError(
                f"{self.name}: iterable data needs a length; wrap it in a list or give it __len__"
            ) from error
        if batches == 0:
            raise HowsparseError(f"{self.name}: there are no batches")
        return batches

    def shuffled(self, seed: int, *, rank: int = 0, world: int = 1, skip: int = 0) -> Iterator[Share]:
        """One pass in an order drawn from ``seed``.

        Args:
            seed: decides the order and everything random in augmentation.
            rank: this process.
            world: number of processes; each reads its share of every batch.
            skip: batches to leave out at the front.

        Yields:
            This process's share of each batch. A share that would be empty holds a sample at weight 0, because every
            process must take part in every step.
        """
        _seed_everything(seed + 1_000_003 * rank)
        if self.dataset is None:
            yield from self._foreign(world, skip)
            return
        order = self._positions()
        if self._wants_shuffle():
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))]
        yield from self._read(order, rank, world, skip)

    def ordered(self, *, rank: int = 0, world: int = 1) -> Iterator[Any]:
        """One pass in the data's own order, for evaluation; ``rank`` reads every ``world``-th batch."""
        if self.dataset is None:
            yield from (batch for i, batch in enumerate(self._source) if i % world == rank)
            return
        chunks = self._chunks(self._positions())[rank::world]
        yield from self._load([chunk.tolist() for chunk in chunks])

    def frozen(self, name: str = "calib") -> "Batches | None":
        """The same samples in order and without augmentation, or None when the data cannot promise that."""
        if self.dataset is None:
            return None
        plain = self.dataset.plain() if hasattr(self.dataset, "plain") else self.dataset
        twin = Batches(plain, batch_size=self.batch_size, name=name, indices=self._indices)
        twin._loader, twin._whole = self._loader, self._whole  # collated in the same way
        return twin

    def subset(self, positions: Sequence[int]) -> "Batches":
        """Only these samples, numbered as in this split's own order; read in the order given, all of them.

        Raises:
            HowsparseError: iterable data, which have no positions, or no positions, or some out of range.

        Example:
            >>> data = Batches(torch.utils.data.TensorDataset(torch.arange(6.0)), batch_size=4)
            >>> [batch[0].tolist() for batch in data.subset([5, 1]).ordered()]
            [[5.0, 1.0]]
        """
        if self.dataset is None:
            raise HowsparseError(
                f"{self.name}: single samples can be picked from map-style data only, not from an iterable of batches"
            )
        chosen, everything = torch.as_tensor(positions, dtype=torch.int64), self._positions()
        if not len(chosen) or int(chosen.min()) < 0 or int(chosen.max()) >= len(everything):
            raise HowsparseError(
                f"{self.name}: a subset needs at least one position, all of them between 0 and {len(everything) - 1}"
            )
        indices = everything[chosen].tolist()
        twin = Batches(self.dataset, batch_size=self.batch_size, name=self.name, indices=indices)
        twin._loader, twin._whole = self._loader, True
        return twin

    def hold_out(self, share: float, seed: int) -> "tuple[Batches, Batches]":
        """Split map-style data into ``(rest, held out)``, the latter un-augmented where the data offers ``plain()``.

        Raises:
            HowsparseError: iterable data, or too few samples to split.
        """
        if self.dataset is None:
            raise HowsparseError(
                f"{self.name}: iterable data, or a loader with a sampler of its own, cannot be split; "
                "bring held-out data with Task(..., val=...)"
            )
        positions = self._positions()
        count = round(share * len(positions))
        if not 0 < count < len(positions):
            raise HowsparseError(f"{self.name}: {len(positions)} samples are too few to hold out a share of {share}")
        order = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(seed))]
        out, rest = order[:count].sort().values, order[count:].sort().values
        held = Batches(self._source, batch_size=self.batch_size, indices=out.tolist()).frozen("val")
        train = Batches(self._source, batch_size=self.batch_size, name=self.name, indices=rest.tolist())
        assert held is not None
        return train, held

    # --- reading ----------------------------------------------------------------------------------------------------
    def _loader_batch_size(self, default: int) -> int:
        sampler = getattr(self._loader, "batch_sampler", None)
        if self._loader is None:
            return default
        return int(self._loader.batch_size or getattr(sampler, "batch_size", None) or default)

    def _wants_shuffle(self) -> bool:
        return self._loader is None or not isinstance(self._loader.sampler, SequentialSampler)

    def _positions(self) -> torch.Tensor:
        if self._indices is not None:
            return torch.as_tensor(self._indices, dtype=torch.int64)
        return torch.arange(len(self.dataset))  # type: ignore[arg-type]

    def _read(self, order: torch.Tensor, rank: int, world: int, skip: int) -> Iterator[Share]:
        whole = self._chunks(order)[skip:]
        shares = [chunk[rank::world].tolist() for chunk in whole]
        weights = [world * len(share) / len(chunk) for share, chunk in zip(shares, whole, strict=True)]
        if world > 1:
            # every process takes part in every step, and batch statistics need two samples: the few are seen twice
            shares = [s if len(s) > 1 else 2 * (s or c[:1].tolist()) for s, c in zip(shares, whole, strict=True)]
        yield from map(Share, self._load(shares), weights)

    def _chunks(self, order: torch.Tensor) -> list[torch.Tensor]:
        """The order cut into batches; a single sample left over joins the batch before it (batch norm needs two)."""
        chunks = list(order.split(self.batch_size))
        if (
            self._loader is not None
            and self._loader.drop_last
            and not self._whole
            and len(chunks) > 1
            and len(chunks[-1]) < self.batch_size
        ):
            return chunks[:-1]
        if len(chunks) > 1 and len(chunks[-1]) == 1:
            return [*chunks[:-2], torch.cat(chunks[-2:])]
        return chunks

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
            multiprocessing_context=None if loader is None else loader.multiprocessing_context,
            prefetch_factor=None if loader is None else loader.prefetch_factor,
            timeout=0 if loader is None else loader.timeout,
        )

    def _foreign(self, world: int, skip: int) -> Iterator[Share]:
        if world > 1:
            raise HowsparseError(f"{self.name}: several processes need map-style data whose order howsparse may draw")
        for position, batch in enumerate(self._source):
            if position >= skip:
                yield Share(batch, 1.0)


def _seed_everything(seed: int) -> None:
    """Seed whatever augmentation and dropout may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - data sets of the user's may use the global generator


def _gathers(dataset: Dataset[Any]) -> bool:
    """Whether a list of indices gives a whole batch at once, the same as collating single samples would."""
    return getattr(dataset, "gathers_batches", False) or type(dataset) is TensorDataset


def _reorderable(loader: DataLoader[Any]) -> bool:
    """Whether we may draw the order: torch's own batching and one of its two samplers over the whole data set."""
    if isinstance(loader.dataset, IterableDataset) or type(loader.batch_sampler) is not BatchSampler:
        return False
    sampler: Any = loader.sampler
    if type(sampler) not in (SequentialSampler, RandomSampler) or getattr(sampler, "replacement", False):
        return False
    whole = len(loader.dataset) if hasattr(loader.dataset, "__len__") else None
    return whole is not None and len(sampler) == whole


def _map_style(source: Any) -> Dataset[Any] | None:
    if isinstance(source, DataLoader):
        return source.dataset if _reorderable(source) else None
    if isinstance(source, IterableDataset):
        return None
    return source if isinstance(source, Dataset) else None  # a list is a list of batches, not of samples

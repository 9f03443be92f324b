"""How training pictures reach a batch: one item a key, one worker a thread, troubles with words."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from app.errors import UserError

Size = tuple[int, int]  # height, width
Key = tuple[int, int]  # epoch, index
PairT = TypeVar("PairT")
AugmentT = TypeVar("AugmentT")
ItemT = TypeVar("ItemT")


class PictureDataset(Dataset[ItemT | UserError], ABC, Generic[PairT, AugmentT, ItemT]):
    """Pairs as pictures of the network's input sizes.

    An item's key is ``(epoch, index)``: all chance comes from seed, epoch and index, so neither
    the number of workers nor a resumed run changes an item. A picture that cannot be read is
    *returned* as its UserError: raised in a worker process it would lose its words.
    """

    def __init__(
        self,
        pairs: Sequence[PairT],
        *,
        query_size: Size,
        satellite_size: Size,
        augment: AugmentT | None = None,
        seed: int = 0,
    ) -> None:
        self.pairs = tuple(pairs)
        self._query_size, self._satellite_size = query_size, satellite_size
        self._augment, self._seed = augment, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> ItemT | UserError:
        epoch, index = key
        try:
            if self._augment is None:
                return self._exact(index)
            rng = np.random.default_rng((self._seed, epoch, index))
            return self._augmented(index, self._augment, rng)
        except UserError as error:
            return error

    @abstractmethod
    def _exact(self, index: int) -> ItemT:
        """As it is. Raises UserError."""

    @abstractmethod
    def _augmented(self, index: int, augment: AugmentT, rng: np.random.Generator) -> ItemT:
        """Changed by chance. Raises UserError."""


def good_items(items: Sequence[ItemT | UserError]) -> list[ItemT] | UserError:
    """All of them, or the first picture's trouble."""
    good: list[ItemT] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        good.append(item)
    return good


@contextmanager
def closing_loader(
    dataset: Dataset[Any],
    batches: Iterable[list[Key]],
    collate: Callable[[Sequence[Any]], object],
    *,
    workers: int,
    pinned: bool,
) -> Iterator["DataLoader[Any]"]:
    """A loader whose workers end with the block."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        pin_memory=pinned,
        generator=torch.Generator().manual_seed(0),  # else it draws from the global one
    )
    try:
        yield loader
    finally:
        # Its own way waits for the garbage collector, and an exception's frames hold it.
        if workers and loader._iterator is not None:
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined]  # torch's


def _one_thread(_: int) -> None:
    """OpenCV's own threads on top of a loader's workers only get in the way."""
    cv2.setNumThreads(0)

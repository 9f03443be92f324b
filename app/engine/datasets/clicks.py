"""Clicked pairs for object networks: what a row of an object folder is to a training run."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from app.engine.click_framing import frame_click
from app.engine.datasets.click_augment import (
    Box,
    Changed,
    Click,
    ClickAugment,
    Picture,
    box_safe_crop,
    mirrored_box,
    mirrored_click,
    object_looks,
    quarter_turned,
    rolled,
)
from app.engine.datasets.click_table import (
    COLUMNS,
    OBJECTS_NAME,
    ClickPair,
    click_row,
    is_object_folder,
    read_click_pairs,
)
from app.engine.datasets.loading import PictureDataset, closing_loader, good_items
from app.engine.datasets.pairs import decoded, resized
from app.errors import UserError

__all__ = [
    "COLUMNS", "OBJECTS_NAME", "ClickAugment", "ClickDataset", "ClickItem", "ClickPair",
    "ClickPictures", "click_loader", "click_row", "is_object_folder", "object_looks",
    "read_click_pairs",
]  # fmt: skip


class ClickItem(NamedTuple):
    """Pixel coordinates are those of these pictures, from upper left corners."""

    query: UInt8[np.ndarray, "h w 3"]
    click: Float32[np.ndarray, "2"]  # x, y
    satellite: UInt8[np.ndarray, "h2 w2 3"]
    box: Float32[np.ndarray, "4"]  # left, top, right, bottom
    row: int  # of the data set's pairs


class ClickPictures(NamedTuple):
    """A batch of items."""

    query: UInt8[Tensor, "b h w 3"]
    click: Float32[Tensor, "b 2"]
    satellite: UInt8[Tensor, "b h2 w2 3"]
    box: Float32[Tensor, "b 4"]
    row: Int64[Tensor, " b"]


class ClickDataset(PictureDataset[ClickPair, ClickAugment, ClickItem]):
    """The query is cut around its click, the box goes with the satellite picture."""

    def _exact(self, index: int) -> ClickItem:
        return self._item(*self._read(index), index)

    def _read(self, index: int) -> tuple[Picture, Click, Changed, Box]:
        pair = self.pairs[index]
        query, click = self._query(pair)
        return query, click, decoded(pair.satellite), self._checked(pair)

    def _query(self, pair: ClickPair) -> tuple[Picture, Click]:
        picture = decoded(pair.query)
        height, width = picture.shape[:2]
        x, y = pair.click
        if not (0 <= x <= width and 0 <= y <= height):
            raise UserError(
                f"The click {x:g}, {y:g} lies outside {pair.query} ({width} x {height})",
                "Mend its line in the table.",
            )
        frame = frame_click((height, width), pair.click, kind=pair.kind, size=self._query_size)
        return frame.cut(picture), frame.to_input(x, y)

    def _checked(self, pair: ClickPair) -> Box:
        left, top, right, bottom = pair.box
        if not (left < right and top < bottom):
            raise UserError(f"The box on {pair.satellite} is empty", "Mend its line in the table.")
        return pair.box

    def _augmented(self, index: int, augment: ClickAugment, rng: np.random.Generator) -> ClickItem:
        query, click, satellite, box = self._read(index)
        if rng.random() < augment.crop:
            satellite, box = box_safe_crop(satellite, box, rng, erosion=augment.erosion)
        if augment.quarter_turns:
            satellite, box = quarter_turned(satellite, box, int(rng.integers(4)))
        if augment.mirror and rng.random() < 0.5:
            satellite, box = mirrored_box(satellite, box)
            query, click = mirrored_click(query, click)
        if augment.roll and self.pairs[index].kind == "panorama":
            query, click = rolled(query, click, int(rng.integers(query.shape[1])))
        item = self._item(query, click, satellite, box, index)
        return item._replace(
            query=object_looks(item.query, rng, strength=augment.query_looks),
            satellite=object_looks(item.satellite, rng, strength=augment.looks),
        )

    def _item(
        self,
        query: Picture,
        click: Click,
        satellite: Changed,
        box: Box,
        index: int,
    ) -> ClickItem:
        """The satellite picture is brought to the input's size, its box with it."""
        height, width = satellite.shape[:2]
        rows, columns = self._satellite_size
        scale = np.array([columns / width, rows / height] * 2)
        return ClickItem(
            np.ascontiguousarray(query),
            np.array(click, np.float32),
            np.ascontiguousarray(resized(np.ascontiguousarray(satellite), self._satellite_size)),
            (np.array(box) * scale).astype(np.float32),
            index,
        )


def _collate(items: Sequence[ClickItem | UserError]) -> ClickPictures | UserError:
    """A batch, or the first picture's trouble."""
    good = good_items(items)
    if isinstance(good, UserError):
        return good
    return ClickPictures(
        torch.from_numpy(np.stack([item.query for item in good])),
        torch.from_numpy(np.stack([item.click for item in good])),
        torch.from_numpy(np.stack([item.satellite for item in good])),
        torch.from_numpy(np.stack([item.box for item in good])),
        torch.tensor([item.row for item in good]),
    )


def click_loader(
    dataset: ClickDataset, batches: Iterable[list[tuple[int, int]]], *, workers: int, pinned: bool
) -> AbstractContextManager["DataLoader[Any]"]:
    """Yields ``ClickPictures``, or a UserError for the reader to raise. Ends its workers."""
    return closing_loader(dataset, batches, _collate, workers=workers, pinned=pinned)

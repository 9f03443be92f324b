"""A picture of random pairs, to see at a glance whether queries and tiles belong together."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from app.engine.datasets.click_table import ClickPair
from app.engine.datasets.layout import ObjectData, RetrievalData
from app.engine.datasets.pairs import Pair, decoded, resized
from app.engine.framing import frame_query
from app.errors import UserError

Picture = UInt8[np.ndarray, "_ _ 3"]

CELL = 224  # height of a picture; a panorama is twice as wide
GAP = 8
CAPTION = 22
QUALITY = 88
PAPER, INK, MARK = (250, 250, 248), (60, 60, 60), (235, 40, 40)


def write_contact_sheet(
    path: Path,
    data: RetrievalData | ObjectData,
    *,
    pairs: int = 24,
    columns: int = 3,
    seed: int = 0,
) -> int:
    """Random pairs of what is learnt from, else of what is measured on; returns how many.

    A query is turned to north where its heading is known; a cross marks where it was taken on its
    tile. Objects: the click on the whole query, the box on the satellite picture. Pictures that
    cannot be read are left out. Raises UserError if none can, or the file cannot be written.
    """
    rows: Sequence[Pair] | Sequence[ClickPair] = data.train or (
        data.held_out if isinstance(data, RetrievalData) else data.val or data.test
    )
    chosen = np.random.default_rng(seed).permutation(len(rows))
    cells: list[Picture] = []
    for index in chosen.tolist():
        if len(cells) == pairs:
            break
        row = rows[index]
        try:
            cells.append(_pair_cell(row) if isinstance(row, Pair) else _click_cell(row))
        except UserError:
            continue  # the check lists what cannot be read
    if not cells:
        raise UserError(f"{data.folder} has no pair that can be drawn", "Copy the data set again.")
    _write(path, _grid(cells, min(columns, len(cells))))
    return len(cells)


def _pair_cell(pair: Pair) -> Picture:
    width = 2 * CELL if pair.kind == "panorama" else CELL
    query = frame_query(
        decoded(pair.query),
        kind=pair.kind,
        size=(CELL, width),
        heading_deg=(pair.heading_deg or 0.0) % 360,
        rows=pair.rows,
    )
    tile = resized(decoded(pair.satellite), (CELL, CELL)).copy()
    if pair.spot is not None:
        _cross(tile, pair.spot[0] * CELL, pair.spot[1] * CELL)
    heading = "heading unknown" if pair.heading_deg is None else f"{pair.heading_deg:.0f} deg"
    return _captioned([query, tile], f"{pair.query.stem[:24]}  {heading}")


def _click_cell(pair: ClickPair) -> Picture:
    query, satellite = decoded(pair.query), decoded(pair.satellite)
    shown, scale = _fitted(query)
    _cross(shown, pair.click[0] * scale, pair.click[1] * scale)
    tile, scale = _fitted(satellite)
    left, top, right, bottom = (round(v * scale) for v in pair.box)
    cv2.rectangle(tile, (left, top), (right, bottom), MARK, 2)
    return _captioned([shown, tile], f"{pair.query.stem[:24]}  {pair.category}")


def _fitted(picture: Picture) -> tuple[Picture, float]:
    """As high as a cell, and by how much it was scaled for that."""
    scale = CELL / picture.shape[0]
    return resized(picture, (CELL, max(1, round(picture.shape[1] * scale)))).copy(), scale


def _cross(picture: Picture, x: float, y: float) -> None:
    at = round(x), round(y)
    cv2.drawMarker(picture, at, (255, 255, 255), cv2.MARKER_CROSS, 18, 4)
    cv2.drawMarker(picture, at, MARK, cv2.MARKER_CROSS, 16, 2)


def _captioned(pictures: Sequence[Picture], words: str) -> Picture:
    width = sum(p.shape[1] for p in pictures) + GAP * (len(pictures) - 1)
    cell = np.full((CELL + CAPTION, width, 3), PAPER, np.uint8)
    left = 0
    for picture in pictures:
        cell[:CELL, left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    plain = words.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII
    cv2.putText(cell, plain, (2, CELL + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return cell


def _grid(cells: Sequence[Picture], columns: int) -> Picture:
    width = max(cell.shape[1] for cell in cells)
    rows = math.ceil(len(cells) / columns)
    sheet = np.full(
        (
            rows * (CELL + CAPTION + 2 * GAP) + 2 * GAP,
            columns * (width + 3 * GAP) + GAP,
            3,
        ),
        PAPER,
        np.uint8,
    )
    for number, cell in enumerate(cells):
        top = 2 * GAP + number // columns * (CELL + CAPTION + 2 * GAP)
        left = 2 * GAP + number % columns * (width + 3 * GAP)
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def _write(path: Path, sheet: Picture) -> None:
    code = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(code.tobytes())
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", "Choose another.") from error

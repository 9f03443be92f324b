"""What the walls of a city's buildings look like: floors, windows, doors, shops, materials."""

import numpy as np
from jaxtyping import Float32, Int32

from app.engine.city_raster import WorldObject
from app.engine.scene import WallPaint

EDGES = 8
FLOOR_M = 3.1
KIND_STYLE = {"house": 0, "house row": 1, "slab": 2, "tower": 2, "hall": 3, "barn": 3, "shed": 3,
              "container": 3, "church": 4}  # fmt: skip


class Facades:
    """Paints points on walls by the object they belong to. Calling it is a `views.Facade`."""

    def __init__(self, objects: tuple[WorldObject, ...]) -> None:
        count = len(objects) + 1
        self._start = np.full((count, EDGES, 2), 1e7, np.float32)
        self._way = np.ones((count, EDGES, 2), np.float32)
        self._length = np.ones((count, EDGES), np.float32)
        self._wall = np.full((count, 3), 150.0, np.float32)
        self._height = np.ones(count, np.float32)
        self._style = np.full(count, 3, np.int32)
        for thing in objects:
            if thing.kind in KIND_STYLE and len(thing.outline) <= EDGES:
                self._add(thing)

    def _add(self, thing: WorldObject) -> None:
        corners = thing.outline
        ends = np.roll(corners, -1, axis=0)
        turn = np.sum(corners[:, 0] * ends[:, 1] - ends[:, 0] * corners[:, 1])
        if turn < 0:  # counter-clockwise, so that outside is to the right of each edge
            corners = corners[::-1]
            ends = np.roll(corners, -1, axis=0)
        length = np.maximum(1e-3, np.hypot(*(ends - corners).T))
        n, i = len(corners), thing.id
        self._start[i, :n], self._length[i, :n] = corners, length
        self._way[i, :n] = (ends - corners) / length[:, None]
        self._wall[i], self._height[i] = thing.wall_rgb, thing.height_m
        self._style[i] = KIND_STYLE[thing.kind]

    def __call__(
        self,
        ids: Int32[np.ndarray, " n"],
        x: Float32[np.ndarray, " n"],
        y: Float32[np.ndarray, " n"],
        z: Float32[np.ndarray, " n"],
        pixel_m: Float32[np.ndarray, " n"],
    ) -> WallPaint:
        away = np.stack([x, y], -1).astype(np.float32)[:, None] - self._start[ids]
        along = (away * self._way[ids]).sum(-1)
        beyond = along - np.clip(along, 0, self._length[ids])
        across = away[..., 0] * self._way[ids][..., 1] - away[..., 1] * self._way[ids][..., 0]
        edge = (across**2 + beyond**2).argmin(axis=1)
        row = np.arange(len(ids))
        way = self._way[ids, edge]
        u, length = along[row, edge], self._length[ids, edge]
        normal = np.stack([way[:, 1], -way[:, 0]], -1)
        rgb = paint(
            self._wall[ids], self._style[ids], ids, u, z, length, self._height[ids], pixel_m
        )
        return WallPaint(rgb, normal.astype(np.float32))


def lottery(ids: np.ndarray, salt: int) -> Float32[np.ndarray, " n"]:
    """A number in [0, 1) that depends on id and salt alone."""
    mixed = (ids.astype(np.uint32) * np.uint32(2654435761) + np.uint32(salt * 40503)) & 0xFFFFFF
    mixed = (mixed ^ (mixed >> 9)) * np.uint32(69069) & 0xFFFFFF
    return np.asarray(mixed / np.float32(0x1000000), np.float32)


def paint(
    wall: np.ndarray, style: np.ndarray, ids: np.ndarray, u: np.ndarray, z: np.ndarray,
    length: np.ndarray, height: np.ndarray, pixel_m: np.ndarray,
) -> Float32[np.ndarray, "n 3"]:  # fmt: skip
    """Unlit colour of points ``u`` metres along a wall and ``z`` metres up it."""
    rgb = wall * (1 + 0.05 * np.sin(u * 1.7 + ids)[:, None] * np.cos(z * 0.9)[:, None])
    bay = 2.2 + 2.0 * lottery(ids, 1)
    bay = length / np.maximum(1, np.round(length / bay))
    column, across = np.floor(u / bay), (u / bay) % 1
    floor, up = np.floor(z / FLOOR_M), (z / FLOOR_M) % 1
    wide = 0.22 + 0.2 * lottery(ids, 2) + np.where(style == 2, 0.12, 0.0)
    glass = (np.abs(across - 0.5) < wide / 1.4) & (np.abs(up - 0.56) < 0.26)
    glass &= (style <= 2) & (z < height - 0.6) & (z < np.maximum(height - 0.8, 2.9))
    glass |= (style == 3) & (np.abs(z - height * 0.72) < 0.5) & (across > 0.1)
    glass |= (style == 4) & (np.abs(across - 0.5) < 0.15) & (z > 2.5) & (z < height * 0.6)
    frame = (
        (np.abs(across - 0.5) < wide / 1.4 + 0.05)
        & (np.abs(up - 0.56) < 0.31)
        & (style <= 1)
        & ~glass
    )
    frame &= z < height - 0.7
    fade = np.clip(1.3 - pixel_m / 1.6, 0, 1)[:, None]  # windows melt into the wall far away
    pane = lottery((ids * 131 + column * 17 + floor * 7).astype(np.int64), 3)
    tint = np.stack([48 + 60 * pane, 58 + 62 * pane, 70 + 64 * pane], -1)
    rgb = np.where(glass[:, None], tint * fade + (wall * 0.72) * (1 - fade), rgb)
    rgb = np.where(frame[:, None], rgb + (wall * 0.2 + 34) * fade * 0.5, rgb)
    balcony = (style == 2) & (up < 0.3) & (lottery(ids, 4) < 0.5) & (column % 3 == 1)
    rgb = np.where(balcony[:, None], wall * 0.4 + 110, rgb)
    door = (z < 2.3) & (np.abs(u - length * (0.25 + 0.5 * lottery(ids, 5))) < 0.65) & (style != 2)
    wood = np.stack(
        [60 + 80 * lottery(ids, 6), 50 + 40 * lottery(ids, 7), 44 + 30 * lottery(ids, 8)], -1
    )
    rgb = np.where(door[:, None], wood, rgb)
    shop = (style == 1) & (lottery(ids, 9) < 0.55) & (z < 3.4)
    sign = shop & (z > 2.7)
    window = shop & ~sign & (z > 0.5) & ((u / (bay * 1.6)) % 1 > 0.1)
    board = np.stack([lottery(ids, s) * 110 + 50 for s in (10, 11, 12)], -1)
    rgb = np.where(sign[:, None], board, np.where(window[:, None], tint * 0.9, rgb))
    rgb = np.where((z < 0.5)[:, None], rgb * 0.68, rgb)
    rgb = np.where(((z > height - 0.5) & (style != 0))[:, None], rgb * 0.82, rgb)
    seam = (style == 3) & ((u % 1.2) < 0.1)
    return np.asarray(np.where(seam[:, None], rgb * 0.88, rgb), np.float32)

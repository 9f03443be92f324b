"""Between a panorama and the view from above: SAFA's polar transform and MSAE's inverse of it.

Both take elevation for distance, linearly: a coarse alignment, no ground plane. Points are
continuous: a picture of h x w pixels spans 0..h and 0..w, and the centre of its first pixel lies
at 0.5. Panoramas span the whole circle, so that their columns wrap.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

AZIMUTH_SHIFT = {"centre": -0.25, "printed": 0.0}  # in widths of the panorama
REACH = {"corner": math.sqrt(2), "edge": 2.0}  # panoramas' heights in a side of the view from above


@dataclass(frozen=True, slots=True, kw_only=True)
class Polar:
    """Where the points of a panorama lie in the square view from above, and the reverse.

    Defaults are MSAE's equations 1 and 2 made right for panoramas whose centre column faces north
    and satellite pictures with north up. "printed" is their letter, for those who have networks
    trained so: ``vertical`` then puts the sky into the centre, and ``azimuth`` counts on north at
    three quarters of a panorama's width, so that of ours the east comes up.
    """

    street: tuple[int, int]  # height and width of the panorama in pixels
    side: int  # of the view from above in pixels
    # Where the panorama's top row lies: MSAE's on the circle through the corners, SAFA's on the
    # circle in the square. Transforms of one reach undo each other; MSAE's after SAFA's magnifies
    # by the root of 2.
    reach: Literal["corner", "edge"] = "corner"
    vertical: Literal["bottom", "printed"] = "bottom"  # where depth is counted from
    azimuth: Literal["centre", "printed"] = "centre"

    def to_street(
        self, x: Float[Tensor, "*n"], y: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        """Column and row in the panorama of points of the view from above."""
        height, width = self.street
        right, down = x - self.side / 2, y - self.side / 2
        depth = REACH[self.reach] * height / self.side * torch.hypot(right, down)
        turn = torch.atan2(down, right) / (2 * math.pi) + AZIMUTH_SHIFT[self.azimuth]
        row = height - depth if self.vertical == "bottom" else depth
        return torch.remainder(width * turn, width), row

    def to_aerial(
        self, column: Float[Tensor, "*n"], row: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        """x and y in the view from above of points of the panorama; some lie outside of it."""
        height, width = self.street
        depth = height - row if self.vertical == "bottom" else row
        radius = self.side / (REACH[self.reach] * height) * depth
        angle = 2 * math.pi * (column / width - AZIMUTH_SHIFT[self.azimuth])
        return self.side / 2 + radius * angle.cos(), self.side / 2 + radius * angle.sin()

    def street_points(self) -> Float[Tensor, "side side 2"]:
        """Column and row of each pixel of the view from above, for ``inverse_polar``."""
        y, x = _centres(self.side, self.side)
        return torch.stack(self.to_street(x, y), dim=-1).float()

    def aerial_points(self) -> Float[Tensor, "h w 2"]:
        """x and y of each pixel of the panorama."""
        row, column = _centres(*self.street)
        return torch.stack(self.to_aerial(column, row), dim=-1).float()


def inverse_polar(
    panoramas: Float[Tensor, "b c h w"],
    points: Float[Tensor, "side side 2"],
    *,
    turn_deg: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "b c side side"]:
    """IPT: what a satellite might see of each panorama. ``points`` are ``Polar.street_points``.

    ``turn_deg`` turns each result clockwise, with nothing to fill: it is a shift of azimuth.
    Bilinear, wrapping over the seam; above the top row that row is repeated.
    """
    height, width = panoramas.shape[2:]
    points = points.to(panoramas.dtype).expand(len(panoramas), -1, -1, -1)
    column, row = points.unbind(dim=-1)
    if turn_deg is not None:
        column = torch.remainder(column - turn_deg[:, None, None] * (width / 360), width)
    # A column more on either side: half a pixel beyond the seam is between the last and the first.
    closed = F.pad(panoramas, (1, 1, 0, 0), mode="circular")
    grid = torch.stack((2 * (column + 1) / (width + 2) - 1, 2 * row / height - 1), dim=-1)
    return F.grid_sample(closed, grid, padding_mode="border", align_corners=False)


def polar(
    aerial: Float[Tensor, "b c side side"], geometry: Polar, *, outside: float | None = None
) -> Float[Tensor, "b c h w"]:
    """Each picture or map of the view from above as a panorama of ``geometry.street`` pixels.

    ``aerial`` may have another side than ``geometry``: that of a network's map of it. ``outside``
    is the value of what the square does not show; None repeats its rim.
    """
    grid = (2 * geometry.aerial_points() / geometry.side - 1).to(aerial)
    grids = grid.expand(len(aerial), -1, -1, -1)
    panoramas = F.grid_sample(aerial, grids, padding_mode="border", align_corners=False)
    if outside is None:
        return panoramas
    return panoramas.masked_fill((grid.abs() > 1).any(dim=-1), outside)


def turned(
    aerial: Float[Tensor, "b c side side"], turn_deg: Float[Tensor, " b"]
) -> Float[Tensor, "b c side side"]:
    """Each picture turned clockwise about its centre; what comes in from outside is mirrored."""
    angle = torch.deg2rad(turn_deg.to(aerial))
    zero = torch.zeros_like(angle)
    rows = (angle.cos(), angle.sin(), zero, -angle.sin(), angle.cos(), zero)
    matrix = torch.stack(rows, dim=-1).unflatten(-1, (2, 3))
    grid = F.affine_grid(matrix, list(aerial.shape), align_corners=False)
    return F.grid_sample(aerial, grid, padding_mode="reflection", align_corners=False)


def _centres(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column of the pixels' centres, each [height, width]; in float64, on the CPU."""
    rows = torch.arange(height, dtype=torch.float64, device="cpu") + 0.5
    columns = torch.arange(width, dtype=torch.float64, device="cpu") + 0.5
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return row, column

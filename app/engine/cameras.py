"""Where each pixel of a camera looks, and where each point of the world falls in its picture.

Metres, x east, y north, z up; headings are compass degrees.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole. ``pitch_deg`` -90 looks down (the top of the picture is ``heading_deg``)."""

    x: float
    y: float
    z: float
    heading_deg: float
    pitch_deg: float
    fov_deg: float  # across the width
    width: int
    height: int

    @property
    def focal_px(self) -> float:
        return self.width / 2 / math.tan(math.radians(self.fov_deg) / 2)

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Rows: right, up, forward, in east-north-up."""
        h, p = math.radians(self.heading_deg), math.radians(self.pitch_deg)
        return np.array([
            [math.cos(h), -math.sin(h), 0.0],
            [-math.sin(h) * math.sin(p), -math.cos(h) * math.sin(p), math.cos(p)],
            [math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)],
        ])  # fmt: skip

    def rays(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """Azimuth in radians and tangent of elevation of each pixel's centre."""
        right = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px)[None, :, None]
        up = ((self.height / 2 - np.arange(self.height) - 0.5) / self.focal_px)[:, None, None]
        axes = self.axes()
        way = right * axes[0] + up * axes[1] + axes[2]
        flat = np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-6)
        return (
            np.arctan2(way[..., 0], way[..., 1]).astype(np.float32),
            (way[..., 2] / flat).astype(np.float32),
        )

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Column, row (pixel centres at .5) and distance along the axis (negative: behind)."""
        seen = (points - (self.x, self.y, self.z)) @ self.axes().T
        depth = np.where(np.abs(seen[:, 2]) < 1e-9, 1e-9, seen[:, 2])
        col = self.width / 2 + seen[:, 0] / depth * self.focal_px
        row = self.height / 2 - seen[:, 1] / depth * self.focal_px
        return np.stack([col, row, seen[:, 2]], -1)

    @property
    def pixel_rad(self) -> float:
        return 1.0 / self.focal_px


def aimed(
    *, x: float, y: float, z: float, away_m: float, heading_deg: float, pitch_deg: float,
    fov_deg: float, width: int, height: int,
) -> Camera:  # fmt: skip
    """A camera ``away_m`` from a point on the ground, which is in the middle of its picture."""
    flat = away_m * math.cos(math.radians(pitch_deg))
    return Camera(
        x=x - math.sin(math.radians(heading_deg)) * flat,
        y=y - math.cos(math.radians(heading_deg)) * flat,
        z=z + away_m * math.sin(math.radians(-pitch_deg)), heading_deg=heading_deg,
        pitch_deg=pitch_deg, fov_deg=fov_deg, width=width, height=height,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Panorama:
    """An equirectangular camera; its centre column faces ``heading_deg``."""

    x: float
    y: float
    z: float
    heading_deg: float
    width: int
    height: int

    def rays(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """Azimuth in radians and tangent of elevation of each pixel's centre."""
        turn = (np.arange(self.width) + 0.5) / self.width * 360 - 180 + self.heading_deg
        lift = 90 - (np.arange(self.height) + 0.5) / self.height * 180
        shape = (self.height, self.width)
        azimuth = np.radians((turn + 180) % 360 - 180).astype(np.float32)
        tangent = np.tan(np.radians(lift)).astype(np.float32)
        return (
            np.broadcast_to(azimuth[None], shape).copy(),
            np.broadcast_to(tangent[:, None], shape).copy(),
        )

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Column, row (pixel centres at .5) and distance."""
        away = points - (self.x, self.y, self.z)
        flat = np.hypot(away[:, 0], away[:, 1])
        turn = np.degrees(np.arctan2(away[:, 0], away[:, 1])) - self.heading_deg
        col = ((turn + 180) % 360) / 360 * self.width
        row = (90 - np.degrees(np.arctan2(away[:, 2], flat))) / 180 * self.height
        return np.stack([col, row, np.hypot(flat, away[:, 2])], -1)

    @property
    def pixel_rad(self) -> float:
        return 2 * math.pi / self.width

"""How fast the demo world is made and photographed, against marching each ray in even steps.

    python -m benchmarks.world_rendering [--seed 9001] [--repeat 5]

The peer is the plain way: every pixel's ray advances 0.4 m at a time over the same surface model,
all pixels at once in numpy and cv2, until it is under ground. It finds hits only and paints no
facades, so it does less.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from app.engine.cameras import Camera, Panorama
from app.engine.scene import Scene, sample
from app.engine.views import RANGE_M, render, satellite
from app.engine.world import World, make_world, street_spot

AIM_S = 0.15  # a panorama of 256 x 512 and a drone photo of 256 x 256


def march(scene: Scene, view: Camera | Panorama) -> np.ndarray:
    """Horizontal distance to the first hit of each ray, inf in the sky."""
    azimuth, tangent = view.rays()
    shape = azimuth.shape
    azimuth, tangent = azimuth.ravel(), tangent.ravel()
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    highest = float(scene.surface.max())
    found = np.full(azimuth.shape, np.inf, np.float32)
    open_ = np.arange(len(azimuth))
    for step in np.arange(0.4, RANGE_M, 0.4, dtype=np.float32):
        z = view.z + tangent[open_] * step
        x, y = view.x + sin[open_] * step, view.y + cos[open_] * step
        hit = sample(scene.surface, scene, x, y) >= z
        found[open_[hit]] = step
        open_ = open_[~hit & ((z < highest) | (tangent[open_] < 0))]
        if not len(open_):
            break
    return found.reshape(shape)


def best_of(repeat: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs after one to warm up."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def cameras(world: World) -> dict[str, Camera | Panorama]:
    rng = np.random.default_rng(1)
    x, y = street_spot(world, world.photos[0].scene, rng)
    middle = world.size_m / 2
    down = Camera(
        x=middle, y=middle, z=100, heading_deg=30, pitch_deg=-90, fov_deg=50, width=256, height=256
    )
    slant = Camera(
        x=middle, y=middle, z=90, heading_deg=30, pitch_deg=-55, fov_deg=50, width=256, height=256
    )
    street = Camera(x=x, y=y, z=2, heading_deg=30, pitch_deg=0, fov_deg=70, width=480, height=320)
    around = Panorama(x=x, y=y, z=2, heading_deg=30, width=512, height=256)
    return {
        "panorama 256 x 512": around, "drone, nadir 256 x 256": down,
        "drone, oblique 256 x 256": slant, "street 320 x 480": street,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=9001)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    start = time.perf_counter()
    world = make_world(args.seed, photo_days=1)
    made = time.perf_counter() - start
    pixels = world.city.ids.size / 1e6
    print(f"a city of 1 km2, {pixels:.2f} million pixels, on two days: {made:.1f} s\n")
    print(f"{'view':<26}{'Skyfix':>10}{'a second':>10}{'marching':>10}{'ratio':>8}{'aim':>8}")
    scene = world.photos[0].scene
    for name, view in cameras(world).items():
        ours = best_of(args.repeat, lambda view=view: render(scene, view))  # type: ignore[misc]
        theirs = best_of(1, lambda view=view: march(scene, view))  # type: ignore[misc]
        aim = "" if name.startswith("street") else f"{AIM_S:.2f} s"
        times = f"{ours:>8.3f} s{1 / ours:>10.1f}{theirs:>8.3f} s{theirs / ours:>7.1f}x"
        print(f"{name:<26}{times}{aim:>8}")
    tile = best_of(args.repeat, lambda: satellite(scene, x=500, y=500, size_m=80, size_px=256))
    print(f"{'satellite tile 256 x 256':<26}{tile:>8.3f} s{1 / tile:>10.1f}")


if __name__ == "__main__":
    main()

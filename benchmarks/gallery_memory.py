"""Peak memory of building a gallery from a 20,000 x 20,000 raster, in a process of its own.

    python -m benchmarks.gallery_memory [--side 20000] [--tile-size-m 160]  (Linux)

Goal: at most 2.5 GB in all, torch included, for any size of raster. Peers, each in a process of
its own too: the same imports and one described batch (what no build can do without), and reading
the raster whole, as the simplest tile cutter does.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_GB = 2.5


def peak_gb() -> float:
    """Of this process so far. Not ``ru_maxrss``, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def child(what: str, folder: Path, tile_size_m: float) -> None:
    """The work of one measured process."""
    from app.engine.gallery_build import build_gallery
    from app.messages import BuildGallery
    from benchmarks.gallery_speed import bare_rate, fresh_checkpoint

    source, tiles = folder / "ground.tif", 32
    checkpoint = fresh_checkpoint(folder, "auto")
    match what:
        case "build":
            request = BuildGallery(source, checkpoint.path, folder / "gallery", tile_size_m)
            tiles = build_gallery(request, checkpoint).described
        case "whole":
            import rasterio

            with rasterio.open(source) as opened:
                tiles = opened.read().shape[0]
            bare_rate(checkpoint, 32, 32)
        case _:
            bare_rate(checkpoint, 32, 32)
    print(f"{peak_gb():.3f} {tiles}")


def measured(what: str, folder: Path, tile_size_m: float) -> tuple[float, int, float]:
    """Peak in GB, tiles, seconds."""
    command = [sys.executable, "-m", "benchmarks.gallery_memory", "--child", what]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--folder", str(folder), "--tile-size-m", str(tile_size_m)],
        check=True,
        capture_output=True,
        text=True,
    )
    peak, tiles = done.stdout.split()[-2:]
    return float(peak), int(tiles), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--tile-size-m", type=float, default=160.0)
    parser.add_argument("--child", choices=("build", "whole", "bare"))
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder, args.tile_size_m)
        return
    from benchmarks.made_raster import write_raster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        source = write_raster(folder / "ground.tif", args.side)
        size_gb = source.stat().st_size / 1e9
        print(
            f"raster: {args.side} x {args.side}, {size_gb:.2f} GB on disk, "
            f"made in {time.perf_counter() - started:.0f} s"
        )
        found = {
            what: measured(what, folder, args.tile_size_m) for what in ("bare", "whole", "build")
        }
    for what, (peak, tiles, seconds) in found.items():
        extra = f", {tiles} tiles" if what == "build" else ""
        print(f"{what:6} {peak:6.2f} GB peak, {seconds:5.0f} s{extra}")
    build, whole = found["build"][0], found["whole"][0]
    print(
        f"build / reading whole: {build / whole:.2f}; "
        f"build {build:.2f} GB (goal: at most {GOAL_GB} GB)"
    )


if __name__ == "__main__":
    main()

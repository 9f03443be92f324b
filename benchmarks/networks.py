"""Images a second and peak memory of each network, by everything that can compute it.

    python -m benchmarks.networks [--preset paper] [--networks mift lpn] [--seconds 30]

The peer, in the same run, is PyTorch as it is found: eager, contiguous. Against it stand channels
last (the program's eager), torch.compile, OpenVINO and, on CUDA, half precision; what cannot be
had here is said. Each (network, backend) is a process of its own, so that its peak memory is its
own; they are timed in turn, one round each, and the median of the rounds counts. A pair is one
query and one satellite picture; of an object network the backend computes the satellite's part.
Weights are fresh: they do not change the time. Finished rows go to ``--keep FILE`` and are not
measured again.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.engine.backends import Part
    from app.models.base import Network

PEER = "contiguous"
BACKENDS = (PEER, "eager", "compile", "openvino", "half")
PATIENCE_S = 1800.0  # for a backend to get ready


@dataclass(frozen=True, slots=True)
class Row:
    network: str
    preset: str
    backend: str
    device: str
    batch: int
    images_per_s: float  # 0: not to be had
    peak_mib: float
    ready_s: float  # from weights to the first descriptor
    cosine: float  # the least, between its descriptors and the peer's
    note: str  # who computed in the end, and why


@dataclass(frozen=True, slots=True)
class Ready:
    """What a child says before it is timed."""

    note: str
    can: bool = False  # else this backend is not to be had, and ``note`` says why
    seconds: float = 0.0
    cosine: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """What one child is to measure."""

    network: str
    preset: str
    backend: str
    device: str
    batch: int
    threads: int
    cache: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="paper", help="start of the presets' names (paper)")
    parser.add_argument("--networks", nargs="*", help="by name (all)")
    parser.add_argument("--backends", nargs="*", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's and OpenVINO's (theirs)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each backend (30)")
    parser.add_argument("--keep", type=Path, help="JSON lines: rows that need no second run")
    args = parser.parse_args()
    device, told = _device(args.device)
    print(f"{told}; batches of {args.batch}; median of {args.rounds} rounds in turn")
    print(
        f"{'network':<14}{'preset':<28}{'backend':<12}{'images/s':>9}{'ratio':>7}{'peak MiB':>10}"
        f"{'ready s':>9}{'cosine':>10}  note"
    )
    wanted = [PEER, *(name for name in args.backends if name != PEER)]
    if device == "cpu":
        wanted = [name for name in wanted if name != "half"]
    kept = _read(args.keep)
    with tempfile.TemporaryDirectory(prefix="skyfix-networks-") as cache:
        for network, preset in _sizes(args.networks, args.preset):
            orders = [
                Order(network, preset, name, device, args.batch, args.threads, Path(cache))
                for name in wanted
            ]
            rows = [row for order in orders if (row := kept.get(_key(order)))]
            if len(rows) < len(orders):
                rows = _measure(orders, rounds=args.rounds, seconds=args.seconds)
                _append(args.keep, rows)
            _print(rows)
    return 0


def _sizes(names: list[str] | None, start: str) -> Iterator[tuple[str, str]]:
    from app.models.catalog import SPECS

    for spec in SPECS:
        for preset in spec.presets:
            if preset.startswith(start) and (not names or spec.name in names):
                yield spec.name, preset


def _device(wanted: str) -> tuple[str, str]:
    import torch

    from app.engine.checkpoints import choose_device

    chosen = choose_device(wanted)
    return chosen.name, f"{chosen.name} ({chosen.reason}), torch {torch.__version__}"


# --- rounds in turn


def _measure(orders: list[Order], *, rounds: int, seconds: float) -> list[Row]:
    """One child each, got ready one after the other, then timed in turn."""
    with _children(orders) as children:
        rates: list[list[float]] = [[] for _ in orders]
        for _ in range(rounds):
            for (conn, ready), so_far in zip(children, rates, strict=True):
                if ready.can:
                    conn.send(seconds / rounds)
                    so_far.append(conn.recv())
        return [
            _row(order, conn, ready, so_far)
            for order, (conn, ready), so_far in zip(orders, children, rates, strict=True)
        ]


@contextmanager
def _children(orders: list[Order]) -> Iterator[list[tuple[Connection, Ready]]]:
    context = multiprocessing.get_context("spawn")
    processes = []
    children = []
    try:
        for order in orders:
            here, there = context.Pipe()
            process = context.Process(target=child, args=(there, order))
            process.start()
            there.close()
            processes.append(process)
            try:
                ready = here.recv() if here.poll(PATIENCE_S) else Ready("never got ready")
            except EOFError:
                process.join()
                ready = Ready(f"its process ended with exit code {process.exitcode}")
            children.append((here, ready))
        yield children
    finally:
        for here, _ in children:
            here.close()
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _row(order: Order, conn: Connection, ready: Ready, rates: list[float]) -> Row:
    peak = 0.0
    if ready.can:
        conn.send(None)
        peak = conn.recv()
    return Row(
        network=order.network,
        preset=order.preset,
        backend=order.backend,
        device=order.device,
        batch=order.batch,
        images_per_s=statistics.median(rates) if rates else 0.0,
        peak_mib=peak,
        ready_s=ready.seconds,
        cosine=ready.cosine,
        note=ready.note,
    )


# --- in a child


def child(conn: Connection, order: Order) -> None:
    """Gets one backend ready, then answers each number of seconds with images a second."""
    import torch

    if order.threads:
        torch.set_num_threads(order.threads)
    begun = time.perf_counter()
    run, ready = _prepare(order)
    if ready.can:
        run()
        ready = replace(ready, seconds=time.perf_counter() - begun)
    conn.send(ready)
    try:
        while ready.can and (seconds := conn.recv()) is not None:
            begun, done = time.perf_counter(), 0
            while done == 0 or time.perf_counter() - begun < seconds:
                run()
                done += 2 * order.batch
            conn.send(done / (time.perf_counter() - begun))
        if ready.can:
            conn.send(_peak_mib(order.device))
    except (EOFError, OSError):  # the parent gave up
        return


def _prepare(order: Order) -> tuple[Callable[[], None], Ready]:
    """A function that does a batch of pairs, and what there is to say of it."""
    import torch

    from app.engine.backends import Backend, checked_choice, choose_backend, compare, trial_pictures
    from app.engine.checkpoints import Device, to_device
    from app.models.build import create_network, preset_config
    from app.models.object_base import ObjectNetwork

    torch.manual_seed(0)
    network = create_network(order.network, preset_config(order.network, order.preset)).eval()
    network.to(order.device)
    parts = _parts(network)
    pictures = [torch.randn(order.batch, 3, *p.size, device=order.device) for p in parts]
    with torch.inference_mode():
        shown = trial_pictures(parts[1], order.device)
        expected = parts[1].run(shown.contiguous())
    backends = [Backend(PEER, "the peer", part.run) for part in parts]
    if order.backend != PEER:
        to_device(network, Device(order.device, ""))
        pictures = [p.contiguous(memory_format=torch.channels_last) for p in pictures]
        choice = checked_choice(order.backend)
        for i, part in enumerate(parts):
            if i == 1 or not isinstance(network, ObjectNetwork):
                backends[i] = choose_backend(part, order.device, choice, cache=order.cache)
    taken = backends[1]

    @torch.inference_mode()
    def run() -> None:
        query, satellite = (b.run(p) for b, p in zip(backends, pictures, strict=True))
        if isinstance(network, ObjectNetwork):
            network.find(query, satellite)
        if order.device != "cpu":
            torch.cuda.synchronize(order.device)

    refused = order.backend != PEER and taken.name != order.backend
    with torch.inference_mode():
        cosine, _ = compare(taken.run(shown), expected)
    return run, Ready(taken.reason, can=not refused, cosine=cosine)


def _parts(network: "Network") -> "list[Part]":
    """The query's and the satellite's."""
    import torch

    from app.engine.backends import Part, describing
    from app.models.base import RetrievalNetwork
    from app.models.object_base import ObjectNetwork

    view = network.config.query_view
    if isinstance(network, RetrievalNetwork):
        return [describing(network, view), describing(network, "satellite")]
    assert isinstance(network, ObjectNetwork)
    size = network.input_size(view)
    clicks = torch.tensor([[size[1] / 2, size[0] / 2]], device=network.mean.device)
    return [
        Part(view, network, lambda p: network.encode_query(p, clicks.expand(len(p), 2)), size),
        Part("satellite", network, network.encode_satellite, network.input_size("satellite")),
    ]


def _peak_mib(device: str) -> float:
    """Of this process's life, on the GPU where that computes."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated(device) / (1 << 20)
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / (1 << 20)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


# --- rows


def _print(rows: list[Row]) -> None:
    peer = next((row.images_per_s for row in rows if row.backend == PEER), 0.0)
    for row in rows:
        name = f"{row.network:<14}{row.preset:<28}{row.backend:<12}"
        if row.images_per_s:
            ratio = row.images_per_s / peer if peer else 0.0
            print(
                f"{name}{row.images_per_s:>9.2f}{ratio:>7.2f}{row.peak_mib:>10.0f}"
                f"{row.ready_s:>9.1f}{row.cosine:>10.6f}  {row.note}",
                flush=True,
            )
        else:
            print(f"{name}{'-':>9}{'-':>7}{'-':>10}{'-':>9}{'-':>10}  {row.note}", flush=True)


_Key = tuple[str, str, str, str, int]


def _key(one: Order | Row) -> _Key:
    return one.network, one.preset, one.backend, one.device, one.batch


def _read(path: Path | None) -> dict[_Key, Row]:
    if path is None or not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [Row(**json.loads(line)) for line in lines if line]
    return {_key(row): row for row in rows}


def _append(path: Path | None, rows: list[Row]) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())

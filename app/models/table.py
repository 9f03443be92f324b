"""The sizes of all catalog networks beside the published ones: ``python -m app.models.catalog``.

Networks are built and run without numbers (on torch's "meta" device), so that the largest takes a
second and no memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.models.base import Network, RetrievalNetwork
from app.models.build import create_network, spec_of
from app.models.catalog import SPECS
from app.models.object_base import ObjectNetwork
from app.models.published import HOW, PUBLISHED, Published

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_TURNED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)

HEAD = (
    "Network", "Size", "Parameters, M", "published", "MACs of a pair, G", "published",
    "ours, counted their way", "Descriptor", "published", "Remark",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """What a network holds and what describing, or searching, one pair takes."""

    parameters: int
    macs: int
    descriptor: int  # of an object network: its boxes
    their_parameters: int  # counted as the published figures were
    their_macs: int


def measure(published: Published) -> Size:
    """Sizes of the network that a row means."""
    config: Mapping[str, Any] = spec_of(published.network).presets[published.preset]
    with torch.device("meta"):
        network = create_network(published.network, {**config, **published.changes}).eval()
    parameters = sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        outputs = _run_pair(network)
    macs = counter.get_total_flops() // 2
    theirs = parameters, macs
    if published.counting != "products":
        norms = published.counting == "modules and norms"
        seen = count_by_modules(
            network, lambda: _run_pair(network), norms=norms, once=published.counted_once
        )
        theirs = seen if norms else (parameters, seen[1])
    too = published.parameters_too, published.macs_too
    return Size(parameters, macs, outputs, theirs[0] + too[0], theirs[1] + too[1])


@torch.inference_mode()
def _run_pair(network: Network) -> int:
    """One query and one satellite picture; the descriptor's length, or the number of boxes."""
    view = network.config.query_view
    query, satellite = (
        torch.empty(1, 3, *network.input_size(v), device="meta") for v in (view, "satellite")
    )
    if isinstance(network, ObjectNetwork):
        clicked = network.encode_query(query, torch.empty(1, 2, device="meta"))
        return network.find(clicked, network.encode_satellite(satellite)).boxes.shape[1]
    assert isinstance(network, RetrievalNetwork)
    network.describe(query, view)
    return network.describe(satellite, "satellite").shape[1]


def count_by_modules(
    network: nn.Module, run: Callable[[], object], *, norms: bool, once: str = ""
) -> tuple[int, int]:
    """Parameters and MACs of the modules that a tool with hooks sees in ``run``, by exact type.

    Those within the module named ``once`` are counted at their first call alone.
    """
    shared = set(network.get_submodule(once).modules()) if once else set()
    seen: set[nn.Module] = set()
    macs = 0

    def told(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if module not in seen or module not in shared:
            macs += _macs_of(module, inputs[0], output, norms=norms)
        seen.add(module)

    kinds = (nn.Linear, *_CONVOLUTIONS, *_TURNED_CONVOLUTIONS, *(_NORMS if norms else ()))
    hooks = [m.register_forward_hook(told) for m in network.modules() if type(m) in kinds]
    run()
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for m in seen for p in m.parameters(recurse=False)), macs


def _macs_of(module: nn.Module, given: Tensor, output: Tensor, *, norms: bool) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, _CONVOLUTIONS):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, _TURNED_CONVOLUTIONS):  # by its output's size, as thop does
        return output.numel() * module.weight[:, 0].numel()
    return 4 * given.numel() if norms else 0


def rows() -> tuple[Published, ...]:
    """The published ones, and every paper size of the catalog that nothing is published of."""
    told = {(row.network, row.preset) for row in PUBLISHED}
    silent = (
        Published(spec.name, preset)
        for spec in SPECS
        for preset in spec.presets
        if preset.startswith("paper") and (spec.name, preset) not in told
    )
    order = [spec.name for spec in SPECS]
    every = (*(row for row in PUBLISHED if row.network in order), *silent)
    return tuple(sorted(every, key=lambda row: order.index(row.network)))


def measured() -> tuple[tuple[Published, Size], ...]:
    """Every row with our sizes; about a second each."""
    return tuple((row, measure(row)) for row in rows())


def table(sizes: Iterable[tuple[Published, Size]]) -> str:
    """In Markdown, one line a row."""
    lines = [HEAD, ["---"] * 2 + ["---:"] * 7 + ["---"], *(_cells(*one) for one in sizes)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: Published, size: Size) -> Iterator[str]:
    spec = spec_of(row.network)
    yield spec.title
    yield row.preset + (f" ({row.row})" if row.row else "")
    yield f"{size.parameters / 1e6:.3f}"
    yield row.parameters_m
    yield f"{size.macs / 1e9:.3f}"
    yield row.macs_g
    yield _their_way(row, size)
    boxes = " boxes" if spec.task == "object" else ""
    yield f"{size.descriptor}{boxes}"
    yield f"{row.descriptor}{boxes}" if row.descriptor else ""
    yield "; ".join(_remarks(row, size))


def _their_way(row: Published, size: Size) -> str:
    parts = []
    if row.parameters_m and size.their_parameters != size.parameters:
        parts.append(f"{_as_printed(size.their_parameters / 1e6, row.parameters_m)} M")
    if row.macs_g and size.their_macs != size.macs:
        parts.append(f"{_as_printed(size.their_macs / 1e9, row.macs_g)} G")
    return ", ".join(parts)


def _as_printed(value: float, printed: str) -> str:
    """With as many decimals as the published figure has."""
    return f"{value:.{len(printed.partition('.')[2])}f}"


def differences(row: Published, size: Size) -> dict[str, float]:
    """How far ours, counted their way, lies from each published figure, as a share of it.

    None is told of where ours rounds to the published figure.
    """
    found = {}
    for name, printed, value in (
        ("parameters", row.parameters_m, size.their_parameters / 1e6),
        ("MACs", row.macs_g, size.their_macs / 1e9),
    ):
        if printed and _as_printed(value, printed) != printed:
            found[name] = value / float(printed) - 1
    return found


def _remarks(row: Published, size: Size) -> Iterator[str]:
    if row.macs_g and row.counting != "products":
        yield f"published: {HOW[row.counting]}"
    if row.remark:
        yield row.remark
    for name, share in differences(row, size).items():
        yield f"{name} counted their way differ by {share:+.2%}"

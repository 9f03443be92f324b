"""A training step in bfloat16 on this processor against the same step in float32.

    python -m benchmarks.half_precision [--networks mift mfrgn ...] [--batch 32] [--rounds 3]

Of each network's first tiny preset: seconds of the quickest step of each kind, taken in turn, one
thread, and the gain of what a training does, where depthwise convolutions that learn stay in
float32; beside it that of a step in bfloat16 throughout. Pictures are noise; only the arithmetic
counts.
"""

import argparse
import copy
import sys
import time

import torch

from app.engine.checkpoints import Device, to_device
from app.engine.learner import half_of, spare_depthwise
from app.models.base import Network, PairBatch, RetrievalNetwork
from app.models.build import create_network
from app.models.catalog import SPECS
from app.models.object_base import ClickBatch, ObjectNetwork

CPU = Device("cpu", "measured")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="*", default=[spec.name for spec in SPECS])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if half_of(CPU) is None:
        print("this processor has no bfloat16 that pays")
        return 0
    torch.set_num_threads(1)
    print(f"{'':<26}{'float32, s':>12}{'as trained':>12}{'gain':>7}{'all bfloat16':>14}{'gain':>7}")
    for spec in SPECS:
        if spec.name not in args.networks:
            continue
        preset = next(name for name in spec.presets if name.startswith("tiny"))
        everywhere = create_network(spec.name, spec.presets[preset]).train()
        to_device(everywhere, CPU)
        network = copy.deepcopy(everywhere)
        spare_depthwise(network)  # of no effect on float32
        kinds = ((network, False), (network, True), (everywhere, True))
        seconds = [float("inf")] * len(kinds)
        for _ in range(args.rounds):
            for kind, (made, half) in enumerate(kinds):
                seconds[kind] = min(seconds[kind], step(made, args.batch, half=half))
        full, *halves = seconds
        shown = "".join(f"{s:>{12 + 2 * n}.2f}{full / s:>7.2f}" for n, s in enumerate(halves))
        print(f"{spec.name + ' ' + preset:<26}{full:>12.2f}{shown}", flush=True)
    return 0


def step(network: Network, count: int, *, half: bool) -> float:
    """Seconds of CPU of a loss and its gradients."""
    sides = (network.input_size(network.config.query_view), network.input_size("satellite"))
    query, satellite = (
        torch.randn(count, 3, *side).contiguous(memory_format=torch.channels_last) for side in sides
    )
    began = time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if isinstance(network, ObjectNetwork):
            clicks = torch.rand(count, 2) * min(sides[0])
            boxes = torch.tensor([[40.0, 40.0, 80.0, 80.0]]).repeat(count, 1)
            loss = network.loss(ClickBatch(query, clicks, satellite, boxes))
        else:
            assert isinstance(network, RetrievalNetwork)
            loss = network.loss(PairBatch(query, satellite, torch.arange(count)))
    loss.backward()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())

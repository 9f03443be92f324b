"""What learns: a network with its optimizer, and the arithmetic of one update.

Half precision, accumulated gradients, ASAM, averaged weights and several processes are all here,
so that the loop need not know of them.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from app.engine.asam import ascended
from app.engine.checkpoints import Device
from app.engine.distributed import Team
from app.errors import UserError
from app.models.base import Network
from app.train_request import Train


class Average:
    """Weights averaged over the updates (EMA): steadier than the last ones."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay, self._count = decay, 0
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """One update later. At first it follows faster: the beginning is soon forgotten."""
        self._count += 1
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """The network has the averaged weights in the block, and its own again after it."""
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.weights)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def state(self) -> Mapping[str, Any]:
        return {"weights": dict(self.weights), "count": self._count}

    def load(self, state: Mapping[str, Any]) -> None:
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)
        self._count = int(state["count"])


@dataclass(slots=True)
class Learner:
    """What changes while a run goes on."""

    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: Device
    half: torch.dtype | None  # of autocast; None: full precision
    average: Average | None
    team: Team
    clip: float
    asam_rho: float

    def autocast(self) -> AbstractContextManager[Any]:
        kind = self.device.name.partition(":")[0]
        return torch.autocast(kind, dtype=self.half, enabled=self.half is not None)

    def update(self, losses: Sequence[Callable[[], Tensor]], lr: float) -> Tensor:
        """One update from the mean of these losses; it stays on the device, that it need not wait.

        A loss may be asked for twice.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["share"]
        loss = self._backward(losses)
        if self.asam_rho:
            parameters = list(self.network.parameters())
            with ascended(parameters, rho=self.asam_rho):
                self._backward(losses)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_value_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.follow(self.network)
        return loss

    def _backward(self, losses: Sequence[Callable[[], Tensor]]) -> Tensor:
        """Gradients of the mean loss, averaged over the processes."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device.name)
        for one in losses:
            with self.autocast():
                loss = one() / len(losses)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        self.team.average_gradients(self.network)
        return total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network as it is to be measured and kept."""
        if self.average is None:
            yield
            return
        with self.average.within(self.network):
            yield

    def state(self) -> Mapping[str, Any]:
        return {
            "network": self.network.state_dict(),
            "passing": self._passing(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else dict(self.average.state()),
        }

    def _passing(self) -> dict[str, Tensor]:
        """What a network remembers while it trains and no checkpoint holds, such as a queue."""
        kept = self.network.state_dict()
        return {name: b for name, b in self.network.named_buffers() if name not in kept}

    def load(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for name, buffer in self._passing().items():
            buffer.copy_(state["passing"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load(state["average"])


def make_learner(run: Train, network: Network, device: Device, team: Team) -> Learner:
    """``network`` must be on the device."""
    cuda = device.name != "cpu"
    half = half_of(device) if run.amp else None
    if half is not None and not cuda:
        spare_depthwise(network)
    if run.gradient_checkpointing and not save_memory(network):
        raise UserError(
            f"{run.network} has no parts that could be computed twice",
            "Leave gradient checkpointing out, or choose smaller batches.",
        )
    return Learner(
        network,
        _optimizer(run, network, fused=cuda),
        torch.amp.GradScaler("cuda", enabled=half is torch.float16),
        device,
        half,
        Average(network, run.ema) if run.ema else None,
        team,
        run.clip_grad,
        run.asam_rho,
    )


def half_of(device: Device) -> torch.dtype | None:
    """The half precision that is quick there, bfloat16 before float16; None: none is."""
    if device.name != "cpu":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else None


def _optimizer(run: Train, network: Network, *, fused: bool) -> torch.optim.Optimizer:
    groups = _groups(run, network)
    match run.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=run.lr, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=run.lr, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, lr=run.lr, momentum=run.momentum, nesterov=run.nesterov)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=run.lr, momentum=run.momentum)


def _groups(run: Train, network: Network) -> list[dict[str, Any]]:
    """By their share of the learning rate (the trunk's), and by their decay: kernels have one."""
    trunk = {id(p) for p in network.trunk_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in network.parameters():
        share = run.trunk_lr_factor if id(p) in trunk else 1.0
        decay = run.weight_decay if p.ndim >= 2 or run.decay_all else 0.0
        groups.setdefault((share, decay), []).append(p)
    return [
        {"params": params, "share": share, "weight_decay": decay}
        for (share, decay), params in groups.items()
    ]


def spare_depthwise(network: nn.Module) -> int:
    """Keep depthwise convolutions that learn in float32 under autocast; how many there are.

    The gradient of their kernels takes a CPU three to five times as long in bfloat16.
    """
    spared = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.weight.requires_grad:
            _wrap_full(module)
            spared += 1
    return spared


def _wrap_full(convolution: nn.Conv2d) -> None:
    half = convolution.forward

    @functools.wraps(half)
    def full(pictures: Tensor) -> Tensor:
        with torch.autocast(pictures.device.type, enabled=False):
            return half(pictures.float())

    convolution.forward = full  # type: ignore[method-assign, assignment]  # as _wrap


def save_memory(network: nn.Module) -> int:
    """Let blocks be computed again in the backward pass instead of kept; how many parts heed it.

    timm's networks know how; of others, what stands in a list called ``blocks`` is wrapped.
    """
    heeding = 0
    inside: list[str] = []
    for name, module in network.named_modules():
        if hasattr(module, "set_grad_checkpointing"):
            module.set_grad_checkpointing(True)
            inside.append(name + ".")
            heeding += 1
        elif (
            name.rpartition(".")[2] == "blocks"
            and isinstance(module, nn.ModuleList | nn.Sequential)
            and not name.startswith(tuple(inside))
        ):
            for block in module:
                _wrap(block)
                heeding += 1
    return heeding


def _wrap(block: nn.Module) -> None:
    plain = block.forward

    @functools.wraps(plain)
    def twice(*args: Any, **options: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return plain(*args, **options)
        return checkpoint(plain, *args, use_reentrant=False, **options)

    block.forward = twice

"""The request to train, with the words and limits that a form shows for each field; what is told.

``Train`` is all that decides a run: it is what crosses to the engine, what ``config.json`` holds,
what the command line's options are made from, and what the window's form is made from.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Optimizer = Literal["adamw", "adam", "sgd", "rmsprop"]
Schedule = Literal["cosine", "step", "polynomial", "constant", "onecycle"]
Negatives = Literal["none", "neighbours", "gps", "similarity"]
BestBy = Literal["auto", "R@1", "AP", "median_m", "accu@0.5", "mean IoU", "loss"]
Group = Literal["run", "network", "learning", "batches", "augmentation", "watching", "adapt"]


@dataclass(frozen=True, slots=True)
class Help:
    """What stands beside a field: its part of the form, its words, its limits."""

    group: Group
    text: str
    least: float | None = None
    most: float | None = None
    advanced: bool = False  # folded away at first


@dataclass(frozen=True, slots=True)
class Train:
    """All that decides a training's result: kept as ``config.json``, it alone repeats the run."""

    run_dir: Annotated[Path, Help("run", "Folder of the run; one that is there goes on")]
    data: Annotated[Path, Help("run", "Folder of the data set")]
    data_name: Annotated[
        str, Help("run", "Which data set the folder holds; empty: told by its layout")
    ] = ""
    recipe: Annotated[str, Help("run", "Recipe that the other settings came from")] = ""

    network: Annotated[str, Help("network", "Architecture")] = "sample4geo"
    preset: Annotated[
        str,
        Help("network", "Named configuration of the network; empty: that of the start checkpoint"),
    ] = "tiny-drone"
    overrides: Annotated[
        Mapping[str, Any],
        Help("network", "Fields of the network's configuration to set otherwise", advanced=True),
    ] = field(default_factory=dict)
    init: Annotated[
        Path | None, Help("network", "Checkpoint to start from; none: fresh weights")
    ] = None

    epochs: Annotated[int, Help("learning", "Times to go through the training data", 1)] = 40
    lr: Annotated[float, Help("learning", "Learning rate at its highest", 0)] = 1e-3
    trunk_lr_factor: Annotated[
        float,
        Help("learning", "The trunk's rate as a share of the others'", 0, 1, advanced=True),
    ] = 1.0
    schedule: Annotated[Schedule, Help("learning", "How the learning rate falls")] = "cosine"
    warmup_epochs: Annotated[
        float, Help("learning", "Epochs in which the learning rate rises from nothing", 0)
    ] = 1.0
    milestones: Annotated[
        tuple[float, ...],
        Help("learning", "Schedule step: epochs after which the rate falls", advanced=True),
    ] = ()
    gamma: Annotated[
        float, Help("learning", "Schedule step: what is left at each fall", 0, 1, advanced=True)
    ] = 0.1
    power: Annotated[
        float, Help("learning", "Schedule polynomial: its exponent", 0, advanced=True)
    ] = 0.9
    optimizer: Annotated[Optimizer, Help("learning", "Rule of the updates", advanced=True)] = (
        "adamw"
    )
    weight_decay: Annotated[
        float, Help("learning", "Pull of kernels towards zero; norms and biases have none", 0)
    ] = 0.01
    decay_all: Annotated[
        bool, Help("learning", "Norms and biases are pulled to zero too", advanced=True)
    ] = False
    momentum: Annotated[float, Help("learning", "Of sgd and rmsprop", 0, 0.999, advanced=True)] = (
        0.9
    )
    nesterov: Annotated[bool, Help("learning", "Of sgd: look ahead", advanced=True)] = False
    label_smoothing: Annotated[
        float, Help("learning", "Share of the target that is spread over all others", 0, 0.9)
    ] = 0.1
    clip_grad: Annotated[
        float, Help("learning", "Largest absolute value of a gradient's entry", 0, advanced=True)
    ] = 100.0
    asam_rho: Annotated[
        float,
        Help("learning", "ASAM: how far off the worst weights lie; 0: off. Doubles the time", 0),
    ] = 0.0
    ema: Annotated[
        float,
        Help("learning", "Averages the weights: share kept each step, such as 0.999; 0: off", 0, 1),
    ] = 0.0
    amp: Annotated[
        bool,
        Help("learning", "Half precision where it pays: on CUDA, and on processors with bfloat16"),
    ] = False
    gradient_checkpointing: Annotated[
        bool, Help("learning", "Computes parts twice to save memory", advanced=True)
    ] = False

    batch_size: Annotated[
        int, Help("batches", "Pairs in a batch, over all processes together", 1)
    ] = 64
    accumulate: Annotated[
        int, Help("batches", "Batches whose gradients make one update", 1, advanced=True)
    ] = 1
    samples_per_place: Annotated[
        int,
        Help(
            "batches",
            "Pictures of each place in a row, drawn anew each epoch; 0: every pair once an epoch, "
            "and no place twice in a batch",
            0,
        ),
    ] = 0
    negatives: Annotated[
        Negatives,
        Help(
            "batches",
            "What shares a batch: anything; neighbours on the ground for a part of it; "
            "nearest by position; or what the network itself finds alike",
        ),
    ] = "none"
    neighbour_share: Annotated[
        float, Help("batches", "Negatives neighbours: part of the batch", 0, 0.9)
    ] = 0.0
    neighbour_select: Annotated[
        int, Help("batches", "Negatives gps, similarity: taken for each pair", 2, advanced=True)
    ] = 64
    neighbour_range: Annotated[
        int, Help("batches", "Negatives gps, similarity: drawn from this many", 2, advanced=True)
    ] = 128
    refresh_negatives: Annotated[
        int, Help("batches", "Negatives similarity: found anew every n epochs", 1, advanced=True)
    ] = 4
    min_distance_m: Annotated[
        float | None,
        Help("batches", "Nearer pairs never share a batch; none: half a tile", 0, advanced=True),
    ] = None
    workers: Annotated[
        int, Help("batches", "Processes that prepare pictures; 0: none beside the training", 0, 64)
    ] = 0

    heading_jitter_deg: Annotated[
        float, Help("augmentation", "The query is turned by up to this many degrees", 0, 180)
    ] = 15.0
    quarter_turns: Annotated[
        bool, Help("augmentation", "Both views are turned by quarters, together")
    ] = True
    flip: Annotated[bool, Help("augmentation", "Both views are mirrored, together")] = True
    zoom_jitter: Annotated[
        float, Help("augmentation", "Up to this share of the sides of a photo is cut off", 0, 0.9)
    ] = 0.1
    looks: Annotated[
        float,
        Help("augmentation", "Strength of changes of colour and sharpness, and of holes; 0: none"),
    ] = 1.0

    validate_every: Annotated[
        int, Help("watching", "Epochs between two measurements on the held-out data", 1)
    ] = 1
    best_by: Annotated[
        BestBy,
        Help("watching", "What makes a checkpoint the best; auto: R@1, for objects accu@0.5"),
    ] = "auto"
    patience: Annotated[
        int, Help("watching", "Stop after this many measurements without a better one; 0: never", 0)
    ] = 0
    keep_last: Annotated[
        int, Help("watching", "Checkpoints of so many last epochs are kept beside the best", 0)
    ] = 0
    save_every_min: Annotated[
        float, Help("watching", "Minutes between two saves within an epoch", 0, advanced=True)
    ] = 10.0
    log_every: Annotated[
        int, Help("watching", "Updates between two points of the live curves", 1, advanced=True)
    ] = 10

    tile_size_m: Annotated[
        float | None,
        Help("run", "Ground size of the satellite pictures in metres; none: the data set's, or 80"),
    ] = None
    turns: Annotated[
        int, Help("run", "Rotations that a query of unknown heading will need", 1, 72)
    ] = 12
    title: Annotated[
        str,
        Help("run", "What the checkpoint is called; empty: after what it began as, and the data"),
    ] = ""
    licence: Annotated[str, Help("run", "Kept in the checkpoint's card")] = ""
    seed: Annotated[int, Help("run", "Of all chance: the same seed repeats the run", 0)] = 0
    device: Annotated[str, Help("run", "auto, cpu, cuda or cuda:1")] = "auto"

    imagery: Annotated[
        Path | None, Help("adapt", "Your own imagery, to render training views from into the data")
    ] = None
    surface: Annotated[
        Path | None, Help("adapt", "Surface model of the imagery's area; none: flat ground")
    ] = None
    views: Annotated[int, Help("adapt", "Training views to render", 8)] = 1000


@dataclass(frozen=True, slots=True)
class EstimateTraining:
    """Try two batches: what would this run need of memory and time? Leaves no folder behind."""

    run: Train


@dataclass(frozen=True, slots=True)
class PreviewTraining:
    """Draw ``count`` training pairs as the network would see them, augmented, to ``picture``."""

    run: Train
    picture: Path  # PNG or JPEG
    count: int = 8


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch's figures; a line of ``metrics.jsonl``."""

    epoch: int  # from 0
    loss: float  # mean over the epoch
    lr: float
    recall_at_1: float | None  # on the held-out pairs; None: not measured, or of no such task
    median_m: float | None
    images_per_s: float
    seconds: float
    memory_mb: float = 0.0  # the most that the epoch needed: of the GPU, else of the process
    step: int = 0  # updates done since the run began
    metrics: Mapping[str, float] = field(default_factory=dict)  # all measured: "R@5", "mean IoU"


@dataclass(frozen=True, slots=True)
class StepsDone:
    """A point of the live curves, the mean of some updates; a line of ``steps.jsonl``."""

    step: int  # updates done since the run began
    epoch: float  # with its fraction
    loss: float
    lr: float
    images_per_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Trained:
    run_dir: Path
    checkpoint: Path  # best.safetensors
    recall_at_1: float  # or the figure that ``best_by`` names
    best_by: str = "R@1"


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """The answer to EstimateTraining, measured on two batches."""

    memory_bytes: int  # the most in use at once
    memory_total_bytes: int  # of the GPU, or of the machine
    seconds_per_step: float
    seconds_per_epoch: float
    seconds_total: float  # without the measurements on held-out data
    steps_per_epoch: int
    pairs: int
    held_out: int
    parameters: int  # numbers that learn
    device: str


@dataclass(frozen=True, slots=True)
class TrainingPreview:
    """The answer to PreviewTraining: queries on top, their satellite pictures below."""

    picture: Path
    count: int


@dataclass(frozen=True, slots=True)
class Option:
    """A field of ``Train``, for a form or a command line."""

    name: str
    kind: type  # int, float, str, bool, Path, tuple (of floats) or Mapping
    default: Any  # MISSING where it must be given
    choices: tuple[str, ...]  # empty: any
    optional: bool  # None is a value too
    help: Help


def options() -> tuple[Option, ...]:
    """Every field of ``Train`` in its order."""
    hints = get_type_hints(Train, include_extras=True)
    return tuple(_option(name, hints[name]) for name in Train.__dataclass_fields__)


def _option(name: str, hint: Any) -> Option:
    kind, text = get_args(hint)
    assert isinstance(text, Help)
    parts = [part for part in get_args(kind) if part is not type(None)]
    optional = len(parts) == 1 and get_origin(kind) is not tuple and parts != list(get_args(kind))
    kind = parts[0] if optional else kind
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    plain = str if choices else (get_origin(kind) or kind)
    return Option(name, plain, _default(name), choices, optional, text)


def _default(name: str) -> Any:
    (one,) = (f for f in fields(Train) if f.name == name)
    return one.default_factory() if one.default_factory is not MISSING else one.default


PATHS = tuple(option.name for option in options() if option.kind is Path)

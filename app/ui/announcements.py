"""What the window says when something happened: an event in, a notice out."""

from collections.abc import Callable
from pathlib import Path

from app.messages import (
    BuildGallery,
    CheckpointImported,
    DeviceChanged,
    Evaluate,
    Evaluated,
    GalleryBuilt,
    Problem,
)
from app.ui.library import CheckpointEntry
from app.ui.notices import Notice, notice_of

LISTED = 4  # of many skipped things; the report has them all

Act = Callable[[], object]


def skipped_notice(skipped: tuple[str, ...]) -> Notice:
    """``skipped`` has at least one sentence."""
    count = len(skipped)
    if count == 1:
        return Notice(skipped[0], severity="warning")
    listed = "; ".join(skipped[:LISTED]) + ("; …" if count > LISTED else "")
    report = "\n".join(skipped) if count > LISTED else ""
    return Notice(f"{count} things were not taken", listed, "warning", report)


def empty_clipboard_notice() -> Notice:
    return Notice(
        "The clipboard holds neither a file nor a picture",
        "Copy a photo in a file manager, or a picture in a browser, and paste again.",
    )


def waiting_notice(missing: str, *, choose: Act, build: Act) -> Notice:
    """``missing``: "gallery" or "checkpoint"."""
    return Notice(
        f"The photos wait: no {missing} is chosen",
        "A gallery is the imagery in which they are looked for. Choose one in the toolbar, or "
        "build one from your own imagery.",
        "warning",
        actions=((f"Choose a {missing}…", choose), ("Build a gallery…", build)),
    )


def paired_notice(entry: CheckpointEntry) -> Notice:
    title = entry.path.name if entry.card is None else entry.card.title
    return Notice(f"{title} is in use: it described this gallery")


def built_notice(built: GalleryBuilt) -> Notice:
    skipped = len(built.skipped)
    return Notice(
        f"Gallery {built.manifest.name} is ready: {built.manifest.tiles:,} tiles",
        f"{built.manifest.skipped:,} were skipped: {'; '.join(built.skipped[:LISTED])}"
        if skipped
        else "It is in use now.",
        "good",
        "\n".join(built.skipped) if skipped > LISTED else "",
    )


def build_failed_notice(problem: Problem, *, resume: Act) -> Notice:
    told = notice_of(problem)
    return Notice(told.title, told.hint, told.severity, told.report, (("Resume", resume),))


def build_stopped_notice(request: BuildGallery, *, resume: Act) -> Notice:
    return Notice(
        f"Building {request.name or request.gallery.name} was cancelled",
        "What is done is kept: it goes on where it stopped.",
        actions=(("Resume", resume),),
    )


def imported_notice(done: CheckpointImported) -> Notice:
    use = "It is in use now." if done.card.task == "retrieval" else "It finds clicked objects."
    dropped = f", {len(done.dropped)} that no picture passes through left out" * bool(done.dropped)
    return Notice(
        f"{done.card.title} is imported: {done.used} weights, trained on {done.data}",
        f"Found: {done.found}{dropped}. {use}",
        "good",
        "\n".join((str(done.checkpoint), done.found, done.card.notes, *done.dropped)),
    )


def import_failed_notice(problem: Problem, *, again: Act) -> Notice:
    told = notice_of(problem)
    return Notice(told.title, told.hint, told.severity, told.report, (("Import as…", again),))


def settings_notice(bad: tuple[str, ...]) -> Notice:
    return Notice("Some settings could not be used", " ".join(bad), "warning", "\n".join(bad))


def moved_notice(change: DeviceChanged) -> Notice:
    """Calm: answers stay the same, they only take longer for a while."""
    if change.device == "cpu":
        return Notice(
            f"Photos are located on the CPU for now: {change.reason}",
            "Answers take longer. The GPU is used again when there is room on it.",
        )
    return Notice(f"Photos are located on {change.device} again", change.reason, "good")


def promoted_notice(checkpoint: Path, *, finds_objects: bool, build: Act) -> Notice:
    if finds_objects:
        return Notice(
            f"{checkpoint.name} is a checkpoint now, and in use for clicked objects",
            "It works with every gallery: click a thing in a photo that was located.",
            "good",
        )
    return Notice(
        f"{checkpoint.name} is a checkpoint now, and in use",
        "To locate photos with it, build a gallery: those of other checkpoints do not fit it.",
        "good",
        actions=(("Build a gallery…", build),),
    )


def evaluated_notice(request: Evaluate, done: Evaluated, *, show: Act) -> Notice:
    """The first figure of each test."""
    told = [
        f"{r.test}: {r.measures[0].name} {r.measures[0].value:.1%}"
        for r in done.results[:LISTED]
        if r.measures
    ]
    more = "; …" if len(done.results) > LISTED else ""
    return Notice(
        f"{request.checkpoint.stem} was evaluated on {request.data.name}",
        "; ".join(told) + more,
        "good",
        actions=(("Show", show),),
    )


def evaluation_failed_notice(problem: Problem, *, change: Act) -> Notice:
    told = notice_of(problem)
    return Notice(told.title, told.hint, told.severity, told.report, (("Change…", change),))


def evaluation_stopped_notice(request: Evaluate, *, resume: Act) -> Notice:
    return Notice(
        f"Evaluating {request.checkpoint.stem} on {request.data.name} was cancelled",
        "What is described is kept: it goes on where it stopped.",
        actions=(("Go on", resume),),
    )

"""What the window says when something happened: an event in, a notice out."""

from collections.abc import Callable

from app.messages import BuildGallery, GalleryBuilt, Problem
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


def settings_notice(bad: tuple[str, ...]) -> Notice:
    return Notice("Some settings could not be used", " ".join(bad), "warning", "\n".join(bad))

"""What stands for the engine in a real process: answers at once, and needs no torch."""

from app.messages import (
    ClaimDevices,
    DevicesClaimed,
    OpenGallery,
    Outcome,
    Problem,
    Progress,
    Report,
    Request,
)

_claims: list[tuple[str, ...]] = []  # of this process


def answer(request: Request, report: Report) -> Outcome:
    report(Progress(1, 2, "looking"))
    if isinstance(request, OpenGallery):
        return Problem(f"There is no gallery {request.gallery.name}")
    return Problem("not asked for")


def remember(request: Request, report: Report) -> Outcome:
    """Says to every other request which claims this process has heard."""
    if isinstance(request, ClaimDevices):
        _claims.append(request.names)
        return DevicesClaimed(request.names)
    return Problem(str(_claims))

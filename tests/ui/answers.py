"""What stands for the engine in a real process: answers at once, and needs no torch."""

from app.messages import OpenGallery, Outcome, Problem, Progress, Report, Request


def answer(request: Request, report: Report) -> Outcome:
    report(Progress(1, 2, "looking"))
    if isinstance(request, OpenGallery):
        return Problem(f"There is no gallery {request.gallery.name}")
    return Problem("not asked for")

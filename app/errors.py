"""The two ways in which a job ends early without being a bug."""


class UserError(Exception):
    """An expected failure, told in the user's words; anything else is a bug."""

    def __init__(self, title: str, hint: str = "") -> None:
        super().__init__(title)
        self.hint = hint


class JobCancelled(Exception):
    """Raised inside a job by its ``report`` when the user has cancelled it."""

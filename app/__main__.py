"""Start the window, or do one job without it (see ``skyfix --help``)."""

import multiprocessing
import sys

from app import READER


def main(argv: list[str] | None = None) -> int:
    """The exit code. Without a command, or with options of the window, the window opens."""
    multiprocessing.freeze_support()  # first: else a frozen engine opens windows without end
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == READER:
        from app.engine.import_reader import main as read_published_checkpoint

        return read_published_checkpoint(argv[1:])
    from app.cli import COMMANDS, run_command

    if argv and (argv[0] in COMMANDS or argv[0] in ("-h", "--help", "--version")):
        return run_command(argv)
    from app.ui.main import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())

"""What the frozen program starts with; from source it is ``python -m app``."""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()  # first: the engine's process starts the program again

    import sys

    from app.__main__ import main

    sys.exit(main())

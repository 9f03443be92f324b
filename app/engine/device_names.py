"""What devices are called. Loads no torch: the window knows them too."""


def accelerator_of(wanted: str) -> str:
    """The accelerator that "auto", "cuda" or "cuda:1" means, there or not; empty for the CPU."""
    if wanted == "cpu":
        return ""
    return "cuda:0" if wanted in ("auto", "cuda") else wanted

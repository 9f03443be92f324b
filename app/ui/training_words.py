"""What the training tab says of estimates, times and problems."""

from app.messages import Problem, TrainingEstimate


def told(estimate: TrainingEstimate) -> str:
    """An estimate in words."""
    share = estimate.memory_bytes / max(1, estimate.memory_total_bytes)
    whose = "this computer" if estimate.device == "cpu" else estimate.device
    return (
        f"{estimate.pairs:,} pairs, {estimate.steps_per_epoch:,} steps an epoch, "
        f"{estimate.parameters / 1e6:.2f} million weights.\n"
        f"{duration(estimate.seconds_per_epoch)} an epoch, {duration(estimate.seconds_total)} in "
        f"all, without the measurements.\n"
        f"{estimate.memory_bytes / 1e9:.1f} GB of memory ({share:.0%} of what {whose} has)"
        + (": too little to spare." if share > 0.9 else ".")
    )


def problem_words(problem: Problem) -> str:
    return f"{problem.title}\n{problem.hint}".rstrip()


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 05 min, 3 days 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"

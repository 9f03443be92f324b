"""How much memory a training uses, and how much there is: of the GPU, else of the process."""

import os
import sys
from pathlib import Path

import torch

from app.engine.checkpoints import Device


def most_used(device: Device) -> int:
    """The most bytes in use at once: on CUDA since ``forget``, else since the process began."""
    if device.name != "cpu":
        return int(torch.cuda.max_memory_allocated(device.name))
    if sys.platform == "win32":
        return _windows_peak()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def used_now(device: Device) -> int:
    """Bytes in use now; where only the most is known, that."""
    if device.name != "cpu":
        return int(torch.cuda.memory_allocated(device.name))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return most_used(device)
    return pages * os.sysconf("SC_PAGE_SIZE")


def forget(device: Device) -> None:
    """Let ``most_used`` begin anew, where it can."""
    if device.name != "cpu":
        torch.cuda.reset_peak_memory_stats(device.name)


def total(device: Device) -> int:
    if device.name != "cpu":
        return int(torch.cuda.get_device_properties(device.name).total_memory)
    if sys.platform == "win32":
        return _windows_total()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _Counters(ctypes.Structure):
        _fields_ = [
            ("cb", wintypes.DWORD),
            ("faults", wintypes.DWORD),
            ("peak", ctypes.c_size_t),
            *((f"other{n}", ctypes.c_size_t) for n in range(7)),
        ]

    class _Status(ctypes.Structure):
        _fields_ = [
            ("length", wintypes.DWORD),
            ("load", wintypes.DWORD),
            ("total", ctypes.c_ulonglong),
            *((f"other{n}", ctypes.c_ulonglong) for n in range(6)),
        ]

    def _windows_peak() -> int:
        counters = _Counters(cb=ctypes.sizeof(_Counters))
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        handle = wintypes.HANDLE(kernel.GetCurrentProcess())
        kernel.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.cb)
        return int(counters.peak)

    def _windows_total() -> int:
        status = _Status(length=ctypes.sizeof(_Status))
        ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total)

"""Time and memory of one call."""

import ctypes
import re
import statistics
import time
from pathlib import Path

FEWEST_CALLS = 3


def durations(call, seconds):
    """Call again and again for some seconds; return each call's seconds."""
    results = []
    start = time.perf_counter()
    while len(results) < FEWEST_CALLS or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        results.append(time.perf_counter() - before)
    return results


def summary(results):
    """Return the best and the median of durations, in milliseconds."""
    return {
        "best_ms": round(1e3 * min(results), 4),
        "median_ms": round(1e3 * statistics.median(results), 4),
    }


def peak_mebibytes(call):
    """Return the most memory that a call adds to this process (Linux)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # Freed memory may be kept.
    before = _kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Forget the last peak.
    call()
    return round((_kibibytes("VmHWM") - before) / 1024, 1)


def _kibibytes(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status).group(1))

"""Result files: CSV after comment lines with the machine and versions."""

import csv
import importlib.metadata
import itertools
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tensorflow", "keras", "jax", "torch", "gsa-pytorch", "numpy")


def write(path, rows, **facts):
    """Write dictionaries to `path`, all or nothing.

    What only some of them have is empty in the others.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {**machine(), **facts}
    write_rows(path, rows, "".join(f"# {k}: {v}\n" for k, v in facts.items()))


def write_rows(path, rows, head=""):
    """The same without the facts, after a text."""
    from keras_attn.replacing import replacing  # with it, Keras

    with (
        replacing(path) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8") as file,
    ):
        file.write(head)
        columns = dict.fromkeys(itertools.chain(*rows))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def replace(path, rows, *keys):
    """Write rows in place of those with equal values of `keys`; keep others."""

    def values(row):  # as text, which all of the file is
        return tuple(str(row[key]) for key in keys)

    new = set(map(values, rows))
    kept = _read(path)[0] if Path(path).is_file() else []
    kept = [row for row in kept if values(row) not in new]
    write(path, sorted([*kept, *rows], key=values))


def read(path):
    """Return the rows, numbers as such, and the facts of a result file."""
    rows, facts = _read(path)
    return [{k: _number(v) for k, v in row.items()} for row in rows], facts


def _read(path):
    lines = Path(path).read_text("utf-8").splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    facts = dict(comment.split(": ", 1) for comment in comments)
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return list(rows), facts


def _number(text):
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def machine():
    """Return what a result depends on, without the name of the machine."""
    facts = {
        "processor": _processor(),
        "cores": _cores(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def _cores():
    """Return how many this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor():
    file = Path("/proc/cpuinfo")
    cpuinfo = file.read_text() if file.is_file() else ""
    lines = [x for x in cpuinfo.splitlines() if x.startswith("model name")]
    if not lines:  # neither Linux nor x86
        return platform.processor() or platform.machine()
    avx512 = "with" if "avx512_bf16" in cpuinfo else "without"
    return f"{lines[0].split(':')[1].strip()}, {avx512} avx512_bf16"

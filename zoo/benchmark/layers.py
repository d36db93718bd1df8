"""Layers against their peers, over sizes of map, widths and batches."""

import itertools

from rich.progress import Progress

from zoo import tables
from zoo.benchmark import timing
from zoo.benchmark.engines import HAS_GSA_PYTORCH
from zoo.benchmark.engines import Engine

MAPS = (14, 28, 56, 112)
WIDTHS = (64, 128, 256, 512)
BATCHES = (1, 32)
# Maps and widths of a ResNet-50, for the other engines and bfloat16.
RESNET_CASES = ((56, 64), (28, 128), (14, 256))
MOST_ELEMENTS = 26e6  # Of the input: a step keeps a good many of them.
MODES = ("forward", "step")
ROUNDS = 2
SECONDS = 0.3


def run(path, quick):
    """Measure everything and write it to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to measure tiny sizes only.

    Raises:
        ModuleNotFoundError: without gsa-pytorch, unless `quick`.
    """
    if not (quick or HAS_GSA_PYTORCH):
        raise ModuleNotFoundError(
            "Layers are compared with gsa-pytorch: pip install '.[benchmark]'"
        )
    seconds = 0.0 if quick else SECONDS
    engines = {}
    rows, rates = [], {}
    cases = list(_cases(quick))
    try:
        for name in dict.fromkeys(engine for engine, *_ in cases):
            engines[name] = Engine(name)
        engine = engines["tensorflow"]
        for dtype in ("float32", "bfloat16"):
            rates[dtype] = engine.ask("matrix_product_rate", dtype, seconds)
        if HAS_GSA_PYTORCH:
            engines["torch"] = Engine("torch")
        with Progress() as progress:
            for case in progress.track(cases):
                rows += _measure(engines, rates, seconds, *case)
                _write(path, rows, rates)  # What is measured is kept.
    finally:
        for engine in engines.values():
            engine.stop()


def _write(path, rows, rates):
    facts = {
        f"{dtype}_matrix_product_gmacs_per_s": round(rate / 1e9)
        for dtype, rate in rates.items()
    }
    tables.write(path, rows, **facts)


def _cases(quick):
    """Yield the engine, the dtype, and the size, width and batch of a map."""
    if quick:
        for engine in ("tensorflow", "tensorflow_xla", "jax"):
            yield engine, "float32", 4, 16, 2
        return
    for size, width, batch in itertools.product(MAPS, WIDTHS, BATCHES):
        if batch * size * size * width <= MOST_ELEMENTS:
            yield "tensorflow", "float32", size, width, batch
    others = (
        ("tensorflow", "bfloat16"),
        ("tensorflow_xla", "float32"),
        ("jax", "float32"),
    )
    for (size, width), (engine, dtype) in itertools.product(
        RESNET_CASES, others
    ):
        yield engine, dtype, size, width, max(BATCHES)


def _measure(engines, rates, seconds, engine, dtype, size, width, batch):
    """Return a row for each subject, all measured in turns."""
    names = engines[engine].ask("subjects", batch, size)
    asked = {subject: engines[engine] for subject in names}
    if engine == "tensorflow" and "torch" in engines:
        asked["gsa_pytorch"] = engines["torch"]
        asked["gsa_pytorch_as_shipped"] = engines["torch"]
    case = (size, width, batch, dtype)
    rows, times = {}, {}
    for subject, process in asked.items():
        process.ask("prepare", subject, *case)
        rows[subject] = {
            "engine": process.name,
            "dtype": dtype,
            "subject": subject,
            "map": size,
            "width": width,
            "batch": batch,
        }
    for _, subject, mode in itertools.product(range(ROUNDS), rows, MODES):
        results = asked[subject].ask("time", subject, mode, seconds)
        times.setdefault((subject, mode), []).extend(results)
    for subject, mode in times:
        for key, value in timing.summary(times[subject, mode]).items():
            rows[subject][f"{mode}_{key}"] = value
    for subject, row in rows.items():
        _add_share_of_peak(row, subject, engines, rates)
    for process in dict.fromkeys(asked.values()):
        process.ask("forget")
    return list(rows.values())


def _add_share_of_peak(row, subject, engines, rates):
    """The multiply-adds of a forward pass, and how fast they are done."""
    row["macs"] = row["share_of_matrix_product_rate"] = ""
    if not subject.startswith("gsa_pytorch"):
        macs = engines["tensorflow"].ask(
            "multiply_adds", subject, row["map"], row["width"]
        )
        rate = macs * row["batch"] / (row["forward_best_ms"] / 1e3)
        row["macs"] = macs
        row["share_of_matrix_product_rate"] = round(
            rate / rates[row["dtype"]], 4
        )

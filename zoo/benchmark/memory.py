"""The most memory that a training step of a layer or network adds.

Each is measured in a process of its own, forked from one that has imported
the frameworks and done nothing else: the allocators keep what is freed, so
that a second measurement in a process would find less.
"""

import multiprocessing

from rich.progress import track

from zoo import tables
from zoo.benchmark import timing
from zoo.benchmark.engines import HAS_GSA_PYTORCH

CASES = (  # map, width
    *((size, 64) for size in (14, 28, 56, 112)),
    (28, 128),
    (14, 256),
)
BATCH = 32
NETWORK_BATCH = 16


def run(path, quick):
    """Measure layers and networks and write the results to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to measure one tiny layer and network.
    """
    from zoo.benchmark import networks
    from zoo.benchmark import subjects

    peers = ["gsa_pytorch"] if HAS_GSA_PYTORCH else []
    if quick:
        jobs = [
            ("layer", subjects.BASELINE, 4, 16, 2),
            ("network", networks.PEER, 32, "", 2),
        ]
    else:
        jobs = [
            ("layer", subject, size, width, BATCH)
            for size, width in CASES
            for subject in (*subjects.names(BATCH, size), *peers)
        ]
        size = networks.SIZE
        jobs += [
            ("network", name, size, "", NETWORK_BATCH)
            for name in networks.build_functions(size, networks.ATTENTIONS)
        ]
    rows = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*peers, "keras_attn"])
    for job in track(jobs, "Memory"):
        with context.Pool(1) as pool:
            mebibytes = pool.apply(_measure, job)
        kind, subject, size, width, images = job
        rows.append(
            {
                "kind": kind,
                "subject": subject,
                "size": size,
                "width": width,
                "batch": images,
                "step_mib": mebibytes,
            }
        )
        tables.write(path, rows)


def _measure(kind, subject, size, width, batch):
    from zoo.benchmark import engines
    from zoo.benchmark import networks

    if kind == "network":
        model = networks.build_functions(size, networks.ATTENTIONS)[subject]()
        step = networks.compiled_call(model, "step", size, batch)
        step.get_concrete_function()  # The trace's memory is not the step's.
        return timing.peak_mebibytes(step)
    prepare = engines.torch_calls
    if subject != "gsa_pytorch":
        prepare = engines.tensorflow_calls
    step = prepare(subject, size, width, batch, "float32")["step"]
    return timing.peak_mebibytes(step)

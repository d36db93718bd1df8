"""Where the time of a network goes, by kind of operation."""

import collections
import re
import tempfile
from pathlib import Path

from zoo import tables
from zoo.benchmark import networks

NETWORKS = ("AttnResNet50(None)", "AttnResNet50(gsa)")
BATCH = 16
CALLS = 3
KINDS = {
    "convolution": r"Conv2D",
    "matrix product": r"MatMul",
    "transposition": r"Transpose",
    "softmax": r"Softmax",
    "copy": r"Pack|Concat|Split|Tile|StridedSlice",
}


def run(path, quick):
    """Profile inference and training steps and write them to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to profile one network on small images only.
    """
    import tensorflow as tf

    # One operation at a time: otherwise they wait within one another's time.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    size = 32 if quick else networks.SIZE
    build = networks.build_functions(size, networks.ATTENTIONS)
    rows = []
    for name in NETWORKS[1:] if quick else NETWORKS:
        model = build[name]()
        for mode in ("forward", "step"):
            call = networks.compiled_call(model, mode, size, BATCH)
            times = _by_kind(_operation_times(call))
            total = sum(times.values())
            for (stage, kind), seconds in sorted(times.items()):
                rows.append(
                    {
                        "network": name,
                        "mode": mode,
                        "where": stage,
                        "kind": kind,
                        "ms": round(1e3 * seconds, 2),
                        "share": round(seconds / total, 4),
                    }
                )
    tables.write(path, rows, image=f"{size} x {size}", batch=BATCH)


def _operation_times(call):
    """Return pairs of operation name and type with their seconds a call."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    call()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(CALLS):
                call()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    times = collections.Counter()
    for plane in space.planes:
        for event in (e for line in plane.lines for e in line.events):
            label = plane.event_metadata[event.metadata_id].name
            operation = re.fullmatch(r"([\w/.]+):(\w+)", label)
            if operation:
                times[operation.groups()] += event.duration_ps / 1e12 / CALLS
    return times


def _by_kind(operation_times):
    times = collections.Counter()
    for (name, operation), seconds in operation_times.items():
        stage = re.search(r"conv(\d)_block\d+_2_attention", name)
        where = f"gsa, stage {stage.group(1)}" if stage else "rest"
        kinds = (k for k, v in KINDS.items() if re.search(v, operation))
        kind = next(kinds, "elementwise and reductions")
        times[where, kind] += seconds
    return times

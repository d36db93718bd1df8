"""Tables and plots of what was measured, as one Markdown file."""

import numpy as np

from zoo import markdown
from zoo import tables
from zoo.benchmark import measured
from zoo.benchmark import plots
from zoo.benchmark import targets

GATES = ("cram", "positionwise", "se", "cbam")
GROWTH_WIDTH = 64
INTRODUCTION = """# Speed and memory

Made by `python -m zoo.benchmark layers`, `networks`, `memory`, `profile`,
`startup` and `report`, from the `benchmark_*.csv` files beside this one.
Times are the best of many calls, all subjects of a row measured in turns in
one run. Read them as ratios: the milliseconds are those of the machine below.

A *forward* pass is inference; a *step* of a layer is a forward and a backward
pass for the inputs and all weights, batch normalisation training; that of a
network goes back to its weights, and ends with their update (SGD with
momentum). Layers keep the
width of their map; ExpAtt and AA attend with a tenth of it, AA with its keys
at least 160 wide, as in their networks, which have none of them on the largest
maps here. `gsa-pytorch` is the only other package of GSA we know, here without
the output projection that the paper does not have ("as shipped": with it). It
runs as PyTorch does by default: eagerly, not compiled, and channels first.
Keras's `MultiHeadAttention` has an output projection and biases, and no
positions.

Differences of a few per cent say nothing: a network with a gate can come out
faster here than the same network without.
"""


def run(folder):
    """Read the result files in `folder` and write the report there.

    Args:
        folder: Path with `benchmark_*.csv`; gets `benchmark.md` and the plots.

    Raises:
        FileNotFoundError: if something has not been measured yet.
    """
    results = {
        name: tables.read(folder / f"benchmark_{name}.csv")
        for name in ("layers", "networks", "memory", "profile", "startup")
    }
    layers, facts = results["layers"]
    layers = measured.Layers(layers)
    rate = 1e9 * float(facts["float32_matrix_product_gmacs_per_s"])
    rows = {name: rows for name, (rows, _) in results.items()}
    parts = [
        INTRODUCTION,
        _facts(facts),
        "## The targets\n",
        markdown.table(("target", "measured"), targets.reached(layers, rows)),
        "Why some were missed:\n",
        targets.explanations(layers, rows, rate),
        "## GSA\n",
        _gsa(layers, rate),
        "![Time of a step by pixels](benchmark_layers.png)\n",
        "## GSA on other engines\n\nMilliseconds of a step, batch 32.\n",
        _engines(layers),
        "## ExpAtt\n\n`dense` makes the map (its kernel is not separable).\n",
        _expatt(layers),
        "## Gates: CRAM, position-wise, SE, CBAM\n",
        "Milliseconds, batch 32, and the share of a bottleneck block of that "
        "width.\n",
        _gates(layers),
        "## Growth with the number of pixels\n",
        f"Exponents fitted over maps of 14 to 112 pixels, width {GROWTH_WIDTH}"
        ": 1 is linear, 2 quadratic.\n",
        _growth(layers, rows["memory"]),
        "## Networks\n",
        "ResNet-50 at 224 x 224 pixels; milliseconds, and over "
        "`keras.applications.ResNet50` in brackets.\n",
        _networks(rows["networks"]),
        "![Time of networks](benchmark_networks.png)\n",
        "## Where the time of GSA-ResNet-50 goes\n",
        "One operation at a time, batch 16, milliseconds.\n",
        _profile(rows["profile"]),
        "## Memory of a step\n",
        "MiB beyond what the process had before, each in a fresh process; "
        "layers with batch 32. What a first call loads counts, too, which is "
        "much of the small figures.\n",
        _memory(rows["memory"]),
        "## Starting up\n",
        markdown.table(
            ("what", "seconds"),
            [(row["what"], f"{row['best_s']:.3f}") for row in rows["startup"]],
        ),
    ]
    (folder / "benchmark.md").write_text("\n".join(parts))
    plots.layers(layers, GROWTH_WIDTH, folder / "benchmark_layers.png")
    plots.networks(rows["networks"], folder / "benchmark_networks.png")


def _times(ratio):
    return "" if ratio is None else f"{ratio:.2f}"


def _facts(facts):
    return "".join(f"- {key}: {value}\n" for key, value in facts.items())


def _gsa(layers, rate):
    rows = []
    for (size, width, batch), subjects in layers.cases():
        gsa = subjects["gsa"]
        rows.append(
            (
                f"{size} x {size} x {width}",
                batch,
                f"{gsa['forward_best_ms']:.2f}",
                f"{gsa['step_best_ms']:.2f}",
                *(
                    _times(measured.ratio(subjects, peer, "gsa", "step"))
                    for peer in (
                        "gsa_pytorch",
                        "gsa_pytorch_as_shipped",
                        "multi_head_attention",
                        "convolution_3x3",
                    )
                ),
                f"{gsa['macs'] / subjects['convolution_3x3']['macs']:.2f}",
                f"{measured.least_step(gsa, rate) / gsa['step_best_ms']:.0%}",
                f"{targets.rate_for_twice(subjects, rate):.0%}",
            )
        )
    explanation = (
        "Step of each peer over GSA's: above 1, GSA is faster. Then GSA's "
        "multiply-adds over the convolution's, the rate at which its step does "
        "them over that of a large matrix product, and what that rate would "
        "have to be for twice the speed of gsa-pytorch.\n\n"
    )
    return explanation + markdown.table(
        (
            "map",
            "batch",
            "forward ms",
            "step ms",
            "gsa-pytorch",
            "as shipped",
            "MultiHeadAttention",
            "3x3 convolution",
            "MACs / convolution",
            "of matrix product rate",
            "2 x gsa-pytorch takes",
        ),
        rows,
    )


def _engines(layers):
    columns = {
        "TensorFlow": ("tensorflow", "float32"),
        "with bfloat16": ("tensorflow", "bfloat16"),
        "with XLA": ("tensorflow_xla", "float32"),
        "JAX": ("jax", "float32"),
    }
    cases = [case for case, _ in layers.cases("jax")]
    rows = []
    for case in cases:
        for subject in ("convolution_3x3", "gsa", "expatt", "aa", "cram"):
            times = []
            for key in columns.values():
                measured = layers.rows[(*key, *case)]
                step = measured.get(subject, {}).get("step_best_ms")
                times.append("" if step is None else f"{step:.2f}")
            size, width, _ = case
            rows.append((f"{size} x {size} x {width}", subject, *times))
    return markdown.table(("map", "layer", *columns), rows)


def _expatt(layers):
    rows = []
    of_block = ("expatt", "bottleneck")
    for (size, width, batch), subjects in layers.cases():
        rows.append(
            (
                f"{size} x {size} x {width}",
                batch,
                f"{subjects['expatt']['step_best_ms']:.2f}",
                *(
                    _times(measured.ratio(subjects, peer, "expatt", "step"))
                    for peer in ("expatt_dense", "aa", "convolution_3x3")
                ),
                *(
                    f"{measured.ratio(subjects, *of_block, mode):.1%}"
                    for mode in ("forward", "step")
                ),
            )
        )
    return markdown.table(
        (
            "map",
            "batch",
            "step ms",
            "dense / ExpAtt",
            "AA / ExpAtt",
            "3x3 convolution / ExpAtt",
            "of a block, forward",
            "of a block, step",
        ),
        rows,
    )


def _gates(layers):
    rows = []
    for (size, width, batch), subjects in layers.cases():
        if batch == 1:
            continue
        cells = []
        for gate in GATES:
            share = measured.ratio(subjects, gate, "bottleneck", "step")
            cells.append(f"{subjects[gate]['step_best_ms']:.2f} ({share:.1%})")
        rows.append((f"{size} x {size} x {width}", *cells))
    return markdown.table(("map", *GATES), rows)


def _growth(layers, memory):
    measured = {}
    for (size, width, batch), subjects in layers.cases():
        if width != GROWTH_WIDTH:
            continue
        for subject, row in subjects.items():
            for mode in ("forward", "step"):
                points = measured.setdefault((subject, batch, mode), [])
                points.append((size**2, row[f"{mode}_best_ms"]))
    for row in memory:
        if row["kind"] == "layer" and row["width"] == GROWTH_WIDTH:
            key = row["subject"], row["batch"], "memory"
            points = measured.setdefault(key, [])
            points.append((row["size"] ** 2, row["step_mib"]))
    columns = [
        (1, "forward"),
        (1, "step"),
        (32, "forward"),
        (32, "step"),
        (32, "memory"),
    ]
    subjects = dict.fromkeys(subject for subject, *_ in measured)
    rows = [
        (
            subject,
            *(
                _exponent(measured.get((subject, *column)))
                for column in columns
            ),
        )
        for subject in subjects
    ]
    names = (f"{mode}, batch {batch}" for batch, mode in columns)
    return markdown.table(("layer", *names), rows)


def _exponent(points):
    if points is None or len(points) < 2:
        return ""
    pixels, values = np.log(np.array(points, "float64")).T
    exponent = f"{np.polyfit(pixels, values, 1)[0]:.2f}"
    largest = max(pixels for pixels, _ in points)
    if largest < 112**2:
        exponent += f" (to {round(largest**0.5)} pixels)"
    return exponent


def _networks(rows):
    columns = list(
        dict.fromkeys((r["dtype"], r["mode"], r["batch"]) for r in rows)
    )
    cells = {
        (r["network"], r["dtype"], r["mode"], r["batch"]): (
            f"{r['best_ms']:.0f} ({r['over_keras_resnet50']:.2f})"
        )
        for r in rows
    }
    names = dict.fromkeys(r["network"] for r in rows)
    return markdown.table(
        ("network", *(f"{d} {m}, batch {b}" for d, m, b in columns)),
        [(name, *(cells[(name, *c)] for c in columns)) for name in names],
    )


def _profile(rows):
    totals = {}
    for row in rows:
        where = "attention" if row["where"] != "rest" else "rest"
        key = (where, row["kind"]), (row["network"], row["mode"])
        totals[key] = totals.get(key, 0) + row["ms"]
    lines = list(dict.fromkeys(line for line, _ in totals))
    columns = list(dict.fromkeys(column for _, column in totals))
    return markdown.table(
        ("where", "operations", *(f"{n}, {m}" for n, m in columns)),
        [
            (*line, *(f"{totals.get((line, c), 0):.0f}" for c in columns))
            for line in sorted(lines)
        ],
    )


def _memory(rows):
    sizes = list(
        dict.fromkeys(
            (r["size"], r["width"]) for r in rows if r["kind"] == "layer"
        )
    )
    cells = {
        (r["subject"], r["size"], r["width"]): f"{r['step_mib']:.0f}"
        for r in rows
    }
    names = dict.fromkeys(r["subject"] for r in rows if r["kind"] == "layer")
    layers = markdown.table(
        ("layer", *(f"{s} x {s} x {w}" for s, w in sizes)),
        [(n, *(cells.get((n, *size), "") for size in sizes)) for n in names],
    )
    all_networks = markdown.table(
        ("network, batch 16", "MiB"),
        [
            (r["subject"], f"{r['step_mib']:.0f}")
            for r in rows
            if r["kind"] == "network"
        ],
    )
    return f"{layers}\n{all_networks}"

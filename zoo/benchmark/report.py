"""Tables and plots of what was measured, as one Markdown file."""

import numpy as np

from zoo.benchmark import plots
from zoo.benchmark import tables

GATES = ("cram", "positionwise", "se", "cbam")
GROWTH_WIDTH = 64
INTRODUCTION = """# Speed and memory

Made by `python -m zoo.benchmark layers`, `networks`, `memory`, `profile`,
`startup` and `report`, from the `benchmark_*.csv` files beside this one.
Times are the best of many calls, all subjects of a row measured in turns in
one run. Read them as ratios: the milliseconds are those of the machine below.

A *forward* pass is inference; a *step* is a forward and a backward pass for
the inputs and all weights, batch normalisation training. Layers keep the
width of their map; ExpAtt and AA attend with a tenth of it, as in their
networks. `gsa-pytorch` is the only other implementation of GSA, here without
the output projection that the paper does not have ("as shipped": with it).
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
    layers = _Layers(layers)
    rows = {name: rows for name, (rows, _) in results.items()}
    parts = [
        INTRODUCTION,
        _facts(facts),
        "## The targets\n",
        _targets(layers, rows),
        "## GSA\n",
        _gsa(layers),
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
        "MiB beyond what the process had before, each in a fresh process.\n",
        _memory(rows["memory"]),
        "## Starting up\n",
        _table(
            ("what", "seconds"),
            [(row["what"], f"{row['best_s']:.3f}") for row in rows["startup"]],
        ),
    ]
    (folder / "benchmark.md").write_text("\n".join(parts))
    plots.layers(layers, GROWTH_WIDTH, folder / "benchmark_layers.png")
    plots.networks(rows["networks"], folder / "benchmark_networks.png")


class _Layers:
    """The rows of the layer benchmark, by what was measured."""

    def __init__(self, rows):
        self.rows = {}
        for row in rows:
            engine = row["engine"]
            if engine == "torch":  # Measured beside TensorFlow.
                engine = "tensorflow"
            case = int(row["map"]), int(row["width"]), int(row["batch"])
            key = engine, row["dtype"], *case
            self.rows.setdefault(key, {})[row["subject"]] = row

    def cases(self, engine="tensorflow", dtype="float32"):
        """Yield `(map, width, batch)` and the subjects measured there."""
        for (*how, size, width, batch), subjects in self.rows.items():
            if how == [engine, dtype]:
                yield (size, width, batch), subjects


def _ratio(subjects, over, under, mode):
    if over not in subjects or under not in subjects:
        return None
    key = f"{mode}_best_ms"
    return subjects[over][key] / subjects[under][key]


def _times(ratio):
    return "" if ratio is None else f"{ratio:.2f}"


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines
    )


def _facts(facts):
    return "".join(f"- {key}: {value}\n" for key, value in facts.items())


def _targets(layers, rows):
    pytorch, dense, shares = [], [], []
    for (size, _, _), subjects in layers.cases():
        pytorch.append(_ratio(subjects, "gsa_pytorch", "gsa", "step"))
        if size >= 28 and "multi_head_attention" in subjects:
            dense.append(
                _ratio(subjects, "multi_head_attention", "gsa", "step")
            )
        shares += [
            _ratio(subjects, "expatt", "bottleneck", mode)
            for mode in ("forward", "step")
        ]
    over_plain = {
        (row["network"], row["mode"], row["dtype"], row["batch"]): row
        for row in rows["networks"]
    }

    def worst(network, column):
        return max(
            row[column] for key, row in over_plain.items() if key[0] == network
        )

    startup = {row["what"]: row["best_s"] for row in rows["startup"]}
    return _table(
        ("target", "measured"),
        [
            (
                "GSA at least 2 x faster than gsa-pytorch, forward and "
                "backward, at every size",
                f"{min(pytorch):.2f} to {max(pytorch):.2f} x, median "
                f"{np.median(pytorch):.2f}; 2 or more at "
                f"{sum(x >= 2 for x in pytorch)} of {len(pytorch)} sizes",
            ),
            (
                "GSA faster than MultiHeadAttention from 28 x 28 on",
                f"{min(dense):.1f} to {max(dense):.1f} x",
            ),
            (
                "ExpAtt's branch under 10 % of its block's time",
                f"{min(shares):.1%} to {max(shares):.1%}, median "
                f"{np.median(shares):.1%}; under 10 % in "
                f"{sum(x < 0.1 for x in shares)} of {len(shares)} cases",
            ),
            (
                "CRAM under 3 % of a ResNet-50's time",
                f"{worst('AttnResNet50(cram)', 'over_plain') - 1:.1%} at most",
            ),
            (
                "AttnResNet50 at most 1.02 x keras.applications.ResNet50",
                f"{worst('AttnResNet50(None)', 'over_keras_resnet50'):.2f} x "
                "at most",
            ),
            (
                "import keras_attn beyond import keras under 0.3 s",
                f"{startup['import keras_attn after keras']:.3f} s",
            ),
            (
                "keras-attn --help under 0.5 s",
                f"{startup['keras-attn --help']:.2f} s",
            ),
        ],
    )


def _gsa(layers):
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
                    _times(_ratio(subjects, peer, "gsa", "step"))
                    for peer in (
                        "gsa_pytorch",
                        "gsa_pytorch_as_shipped",
                        "multi_head_attention",
                        "convolution_3x3",
                    )
                ),
                f"{gsa['macs'] / subjects['convolution_3x3']['macs']:.2f}",
                f"{gsa['share_of_matrix_product_rate']:.0%}",
            )
        )
    explanation = (
        "Step of each peer over GSA's: above 1, GSA is faster. Then GSA's "
        "multiply-adds over the convolution's, and the rate at which its "
        "forward pass does them over that of a large matrix product.\n\n"
    )
    return explanation + _table(
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
    return _table(("map", "layer", *columns), rows)


def _expatt(layers):
    rows = []
    for (size, width, batch), subjects in layers.cases():
        rows.append(
            (
                f"{size} x {size} x {width}",
                batch,
                f"{subjects['expatt']['step_best_ms']:.2f}",
                *(
                    _times(_ratio(subjects, peer, "expatt", "step"))
                    for peer in ("expatt_dense", "aa", "convolution_3x3")
                ),
                *(
                    f"{_ratio(subjects, 'expatt', 'bottleneck', mode):.1%}"
                    for mode in ("forward", "step")
                ),
            )
        )
    return _table(
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
            share = _ratio(subjects, gate, "bottleneck", "step")
            cells.append(f"{subjects[gate]['step_best_ms']:.2f} ({share:.1%})")
        rows.append((f"{size} x {size} x {width}", *cells))
    return _table(("map", *GATES), rows)


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
            key = row["subject"], int(row["batch"]), "memory"
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
    return _table(("layer", *names), rows)


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
        dict.fromkeys((r["dtype"], r["mode"], int(r["batch"])) for r in rows)
    )
    cells = {
        (r["network"], r["dtype"], r["mode"], int(r["batch"])): (
            f"{r['best_ms']:.0f} ({r['over_keras_resnet50']:.2f})"
        )
        for r in rows
    }
    names = dict.fromkeys(r["network"] for r in rows)
    return _table(
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
    return _table(
        ("where", "operations", *(f"{n}, {m}" for n, m in columns)),
        [
            (*line, *(f"{totals.get((line, c), 0):.0f}" for c in columns))
            for line in sorted(lines)
        ],
    )


def _memory(rows):
    sizes = list(
        dict.fromkeys(
            (int(r["size"]), r["width"]) for r in rows if r["kind"] == "layer"
        )
    )
    cells = {
        (r["subject"], int(r["size"]), r["width"]): f"{r['step_mib']:.0f}"
        for r in rows
    }
    names = dict.fromkeys(r["subject"] for r in rows if r["kind"] == "layer")
    layers = _table(
        ("layer", *(f"{s} x {s} x {w:.0f}" for s, w in sizes)),
        [(n, *(cells.get((n, *size), "") for size in sizes)) for n in names],
    )
    all_networks = _table(
        ("network, batch 16", "MiB"),
        [
            (r["subject"], f"{r['step_mib']:.0f}")
            for r in rows
            if r["kind"] == "network"
        ],
    )
    return f"{layers}\n{all_networks}"

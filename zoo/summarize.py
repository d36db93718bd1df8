"""Put finished trainings into tables, plots and the README.

    python -m zoo.summarize [RUN_DIR ...]

Keeps what is needed of the finished ones of the given runs in
`zoo/results/training`, then makes from everything there, for each data set,
`zoo/results/comparison_DATASET.csv`, plots, and for those that the README
compares networks on its table there; the README's table of published weights;
and the tables of what was measured of them, in the README and in
`zoo/results/studies.md`.
"""

import statistics
from pathlib import Path
from typing import Annotated

import typer

import keras_attn
from keras_attn.weights import manifest
from zoo import cards
from zoo import recipe as recipes
from zoo import runs
from zoo import train
from zoo.benchmark import tables

README = Path("README.md")
RESULTS = Path("zoo/results")
STUDIES = RESULTS / "studies.md"
LATENCY = RESULTS / "benchmark_comparison.csv"
IN_README = "cifar100", "tiny_imagenet"  # data sets

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    run: Annotated[
        list[Path] | None,
        typer.Argument(help="Output folders of zoo.train to keep."),
    ] = None,
):
    """Put finished trainings into tables, plots and the README."""
    try:
        for folder in run or ():
            _keep(folder)
        for data, kept in runs.kept().items():
            summarize(data, kept)
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.summarize: {error}") from None
    for name, (page, table) in MEASURED.items():
        path = RESULTS / f"{name}.csv"
        if path.is_file():
            rows, _ = tables.read(path)
            _write_table(page, name, table(rows))
    ids = keras_attn.list_models()
    _write_table(README, "weights", table_of_weights(map(manifest.entry, ids)))


def _keep(folder):
    if folder.exists() and not (folder / train.RESULT).is_file():
        typer.echo(f"{folder} is left out: no finished training", err=True)
        return
    runs.keep(folder)


def summarize(data, kept):
    """Write the table and the plots of the runs on a data set."""
    from zoo import plots

    rows = comparison(kept)
    name = data.replace("/", "_")
    path = RESULTS / f"comparison_{name}.csv"
    tables.write(path, rows)
    plots.costs(rows, path.with_suffix(".png"))
    plots.curves(kept, RESULTS / f"curves_{name}.png")
    if data in IN_README:
        _write_table(README, data, table_of(rows))


def comparison(kept):
    """Return a row for each network and size of images, the best first.

    Top-1 and top-5 are those of the last epoch in percent, the mean over the
    seeds; the spread is the difference of the highest and the lowest top-1.

    Raises:
        ValueError: if runs of one network differ in more than their seed.
    """
    by_network = {}
    for run in kept:
        by_network.setdefault((run.network, run.pixels), []).append(run)
    latency = _latency(kept[0].recipe["data"]["name"])
    rows = []
    for (network, pixels), seeds in by_network.items():
        _check_seeds(seeds)
        top1 = [100 * run.result["top1"] for run in seeds]
        top5 = [100 * run.result["top5"] for run in seeds]
        rows.append(
            {
                "network": network,
                "pixels": pixels,
                "epochs": seeds[0].recipe["training"]["epochs"],
                **_costs(seeds[0].recipe),
                "latency_ms": latency.get((network, pixels), ""),
                "seeds": len(seeds),
                "top1": round(statistics.mean(top1), 2),
                "top1_spread": round(max(top1) - min(top1), 2),
                "top5": round(statistics.mean(top5), 2),
            }
        )
    return sorted(rows, key=lambda row: -row["top1"])


def _check_seeds(seeds):
    """Raise a `ValueError` unless runs differ in their seed, and only in it."""
    if len({run.seed for run in seeds}) < len(seeds):
        raise ValueError(
            f"Two trainings of {seeds[0].network} have the same seed. Give "
            "what is another network or recipe another name, before the first "
            "dot."
        )
    first, *others = (_without_seed(run.recipe) for run in seeds)
    if any(recipe != first for recipe in others):
        raise ValueError(
            f"The trainings of {seeds[0].network} have different recipes. Give "
            "them different names, before the first dot."
        )


def _without_seed(recipe):
    """Return what a training depends on, but for the seed."""
    tables = {key: recipe.get(key) for key in recipes.TABLES}
    return tables | {"training": recipe["training"] | {"seed": None}}


def _costs(recipe):
    import keras

    from zoo import macs
    from zoo import network

    size = recipe["data"]["evaluation_size"]
    model = network.build(recipe, size)
    costs = {
        "parameters": macs.trainable_parameters(model),
        "macs": macs.count(model, (size, size, 3)),
    }
    keras.utils.clear_session()
    return costs


def _latency(data):
    """Return the milliseconds of one image, by network and size."""
    if not LATENCY.is_file():
        return {}
    rows, _ = tables.read(LATENCY)
    return {
        (row["network"], row["pixels"]): round(row["best_ms"], 1)
        for row in rows
        if row["data"] == data
    }


def _write_table(page, mark, table):
    text = page.read_text("utf-8")
    page.write_text(with_table(text, mark, table), "utf-8")


def with_table(text, mark, table):
    """Return the text of a page with a new table between two marks.

    Raises:
        ValueError: if the marks are not there.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(
            f"The page must have a line {begin.strip()!r} and a later line "
            f"{end.strip()!r}"
        )
    return before + begin + table + end + after


def _markdown(header, lines):
    rule = "|---" * (header.count("|") - 1) + "|"
    return "\n".join([header, rule, *lines]) + "\n"


def table_of(rows):
    """Return the rows as a Markdown table."""
    header = (
        "| network | px | epochs | parameters (M) | MACs (M) | ms | seeds "
        "| top-1 (%) | spread | top-5 (%) |"
    )
    lines = []
    for row in rows:
        spread = row["top1_spread"] if row["seeds"] > 1 else ""
        lines.append(
            f"| {row['network']} | {row['pixels']} | {row['epochs']} "
            f"| {row['parameters'] / 1e6:.2f} "
            f"| {row['macs'] / 1e6:.0f} | {row['latency_ms']} "
            f"| {row['seeds']} | {row['top1']:.2f} | {spread} "
            f"| {row['top5']:.2f} |"
        )
    return _markdown(header, lines)


def table_of_rectangles(rows):
    """Return the rows of `zoo.study.rectangles` as a Markdown table."""
    header = (
        "| rectangle | size | boxes | images | centre in the box | mean IoU |"
    )
    lines = []
    for row in rows:
        lines.append(
            f"| {row['rectangle']} | {row['size']} | {row['boxes']} "
            f"| {row['images']:.0f} | {100 * row['center_in_box']:.1f} % "
            f"| {row['mean_iou']:.3f} |"
        )
    return _markdown(header, lines)


def table_of_faithfulness(rows):
    """Return the rows of `zoo.study.faithfulness` as a Markdown table."""
    header = (
        "| network | map | boxes | images | pointing game (%) | energy (%) "
        "| deletion (%) | insertion (%) |"
    )
    lines = []
    for row in rows:
        measured = [
            f"{100 * row[name]:.1f}" + _plus_minus(row[f"{name}_error"])
            for name in ("pointing_game", "energy", "deletion", "insertion")
        ]
        lines.append(
            f"| {row['id']} | {row['map']} | {row['boxes']} "
            f"| {row['images']:.0f} | {' | '.join(measured)} |"
        )
    return _markdown(header, lines)


def _plus_minus(error):
    return f" ± {100 * error:.1f}" if error else ""


def table_of_exports(rows):
    """Return the rows of `zoo.export_matrix`, a line for each weight."""
    by_id = {}
    for row in rows:
        by_id.setdefault(row["id"], {})[row["format"]] = (
            f"{100 * row['top1']:.1f} %, {row['bytes'] / 1e6:.1f} MB, "
            f"{row['median_ms']:.1f} ms"
        )
    formats = list(dict.fromkeys(row["format"] for row in rows))
    lines = [
        f"| `{weight_id}` | {' | '.join(cells[name] for name in formats)} |"
        for weight_id, cells in by_id.items()
    ]
    return _markdown(f"| id | {' | '.join(formats)} |", lines)


def table_of_fine_tuning(rows):
    """Return the rows of `zoo.study.fine_tuning` as a Markdown table."""
    header = "| network | fine-tuned on | seeds | pretrained | from scratch |"
    top1 = {}
    for row in rows:
        begins = top1.setdefault((row["id"], row["data"]), {})
        begins.setdefault(row["begin"], []).append(100 * row["top1"])
    lines = [
        f"| `{weight_id}` | {cards.DATA_SETS[data][0]} "
        f"| {len(begins['pretrained'])} | {_mean(begins['pretrained'])} "
        f"| {_mean(begins['from scratch'])} |"
        for (weight_id, data), begins in top1.items()
    ]
    return _markdown(header, lines)


def _mean(percentages):
    spread = max(percentages) - min(percentages)
    return f"{statistics.mean(percentages):.1f} % (spread {spread:.1f})"


def table_of_segmentation(rows):
    """Return the rows of `zoo.study.segmentation`, the best first."""
    by_attention = {}
    for row in rows:
        by_attention.setdefault(row["attention"], []).append(row)

    def mean(seeds, name):
        return statistics.mean(row[name] for row in seeds)

    classes = ("ground", "disc", "square", "triangle", "cross", "ring")
    lines = []
    for attention, seeds in sorted(
        by_attention.items(), key=lambda item: -mean(item[1], "mean_iou")
    ):
        scores = [row["mean_iou"] for row in seeds]
        trained, spread = " | ", ""
        if parameters := seeds[0]["parameters"]:  # there is a network
            trained = f"{parameters / 1e6:.2f} | {len(seeds)}"
            spread = f"{max(scores) - min(scores):.3f}"
        of_classes = " | ".join(f"{mean(seeds, name):.2f}" for name in classes)
        lines.append(
            f"| {attention} | {trained} | {mean(seeds, 'mean_iou'):.3f} "
            f"| {spread} | {of_classes} |"
        )
    header = (
        "| attention | parameters (M) | seeds | mean IoU | spread "
        f"| {' | '.join(classes)} |"
    )
    return _markdown(header, lines)


def table_of_radii(rows):
    """Return the rows of `zoo.study.radii`, a line for each layer."""
    ids = list(dict.fromkeys(row["id"] for row in rows))
    by_layer = {}
    for row in rows:
        layer = f"`{row['layer']}` | {row['map']:.0f} x {row['map']:.0f}"
        by_layer.setdefault(layer, {})[row["id"]] = f"{row['after']:.2f}"
    lines = [
        f"| {layer} | {' | '.join(radii.get(name, '') for name in ids)} |"
        for layer, radii in by_layer.items()
    ]
    names = " | ".join(f"`{name}`" for name in ids)
    return _markdown(f"| layer | map | {names} |", lines)


def table_of_radius_effect(rows):
    """Return the rows of `zoo.study.radius_effect` as a Markdown table."""
    lines = [
        f"| `{row['id']}` | {row['radii']} | {row['images']} "
        f"| {100 * row['top1']:.2f}{_plus_minus(row['top1_error'])} |"
        for row in rows
    ]
    return _markdown("| network | radii | images | top-1 (%) |", lines)


def table_of_equivariance(rows):
    """Return the rows of `zoo.study.equivariance`, with errors as shares of
    those of rectangles that stay where they are."""
    header = (
        "| run | area | spread of centres | edges | saliency "
        "| way of the centre | centres | extents | angles |"
    )
    lines = []
    for row in rows:
        shares = [
            f"{row[term] / still:.1%}"
            if (still := row[f"still_{term}"])
            else ""
            for term in ("centers", "extents", "angles")
        ]
        lines.append(
            f"| `{row['name']}` | {row['area']:.0%} "
            f"| {row['center_spread']:.1%} | {row['edges']} "
            f"| {row['saliency']} | {row['way']:.0%} "
            f"| {' | '.join(shares)} |"
        )
    return _markdown(header, lines)


def table_of_pilots(rows):
    """Return the rows of `zoo.study.pilots`, the best first."""
    header = (
        "| recipe | changes | epochs | parameters (M) | training top-1 (%) "
        "| top-1 (%) |"
    )
    lines = [
        f"| {row['recipe']} | {_code(row['changes'])} | {row['epochs']} "
        f"| {row['parameters'] / 1e6:.2f} | {100 * row['training_top1']:.1f} "
        f"| {100 * row['top1']:.2f} |"
        for row in sorted(rows, key=lambda row: -row["top1"])
    ]
    return _markdown(header, lines)


def _code(text):
    return f"`{text}`" if text else ""


# What else is measured: the name of its CSV file in zoo/results, which is also
# that of its marks, and the page that has them.
MEASURED = {
    "rectangles": (STUDIES, table_of_rectangles),
    "faithfulness": (STUDIES, table_of_faithfulness),
    "export": (README, table_of_exports),
    "fine_tuning": (README, table_of_fine_tuning),
    "segmentation": (STUDIES, table_of_segmentation),
    "radii": (STUDIES, table_of_radii),
    "radius_effect": (STUDIES, table_of_radius_effect),
    "equivariance": (STUDIES, table_of_equivariance),
    "pilots": (STUDIES, table_of_pilots),
}


def table_of_weights(entries):
    """Return published weights as a Markdown table."""
    header = "| id | data | parameters | file | top-1 | top-5 |"
    lines = []
    for entry in entries:
        [(data, splits)] = entry.metrics.items()
        measured = splits["val"]
        lines.append(
            f"| `{entry.id}` | {cards.DATA_SETS[data][0]}, "
            f"{len(entry.class_names)} classes, {entry.input['size']} px "
            f"| {entry.parameters / 1e6:.2f} M | {entry.bytes / 1e6:.1f} MB "
            f"| {100 * measured['top1']:.2f} % "
            f"| {100 * measured['top5']:.2f} % |"
        )
    return _markdown(header, lines)


if __name__ == "__main__":
    app()

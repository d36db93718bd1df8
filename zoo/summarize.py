"""Put finished trainings into tables, plots and the README.

    python -m zoo.summarize [RUN_DIR ...]

Keeps what is needed of the finished ones of the given runs in
`zoo/results/training`, then makes from everything there, for each data set,
`zoo/results/comparison_DATASET.csv`, plots, and for those that the README
compares networks on its table there; the README's table of published weights;
and the tables of what was measured of them, there and on the pages of
`zoo/results`.
"""

import statistics
from pathlib import Path
from typing import Annotated

import typer

import keras_attn
from keras_attn.replacing import replacing
from keras_attn.weights import manifest
from zoo import markdown
from zoo import run_folder
from zoo import runs
from zoo import tables

README = Path("README.md")
RESULTS = Path("zoo/results")
STUDIES = RESULTS / "studies.md"
EXPORTS = RESULTS / "export.md"
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
        _write_tables()
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.summarize: {error}") from None


def _keep(folder):
    if folder.exists() and not (folder / run_folder.RESULT).is_file():
        typer.echo(f"{folder} is left out: no finished training", err=True)
        return
    runs.keep(folder)


def _write_tables():
    for name, (page, table) in MEASURED.items():
        path = RESULTS / f"{name}.csv"
        if path.is_file():
            rows, _ = tables.read(path)
            _write_table(page, name, table(rows))
    entries = map(manifest.entry, keras_attn.list_models())
    _write_table(README, "weights", markdown.table_of_weights(entries))


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
        _write_table(README, data, markdown.table_of_comparison(rows))


def comparison(kept):
    """Return a row for each network and size of images, the best first.

    Top-1 and top-5 are those of the last epoch in percent, the mean over the
    seeds; the spread is the difference of the highest and the lowest top-1.

    Raises:
        ValueError: if runs of one network differ in more than their seed.
    """
    latency = _latency(kept[0].recipe["data"]["name"])
    rows = []
    for (network, pixels), seeds in runs.by_network(kept).items():
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
                "top1_lowest": round(min(top1), 2),
                "top5": round(statistics.mean(top5), 2),
            }
        )
    return sorted(rows, key=lambda row: -row["top1"])


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
    text = markdown.with_table(page.read_text("utf-8"), mark, table)
    with replacing(page) as unfinished:
        unfinished.write_text(text, "utf-8")


# What else is measured: the name of its CSV file in zoo/results, which is also
# that of its marks, and the page that has them.
MEASURED = {
    "rectangles": (STUDIES, markdown.table_of_rectangles),
    "faithfulness": (STUDIES, markdown.table_of_faithfulness),
    "export": (EXPORTS, markdown.table_of_exports),
    "fine_tuning": (README, markdown.table_of_fine_tuning),
    "segmentation": (STUDIES, markdown.table_of_segmentation),
    "radii": (STUDIES, markdown.table_of_radii),
    "radius_effect": (STUDIES, markdown.table_of_changes),
    "parts": (STUDIES, markdown.table_of_changes),
    "content": (STUDIES, markdown.table_of_content),
    "equivariance": (STUDIES, markdown.table_of_equivariance),
    "pilots": (STUDIES, markdown.table_of_pilots),
}


if __name__ == "__main__":
    app()

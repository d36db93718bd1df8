"""The plots of the comparison, and of one training for its card."""

from matplotlib import colormaps
from matplotlib.figure import Figure

from keras_attn.replacing import replacing

COSTS = {
    "parameters": ("parameters (millions)", 1e-6),
    "macs": ("multiply-adds (millions)", 1e-6),
    "latency_ms": ("one image on two CPU cores (ms)", 1),
}


COLORS = colormaps["tab20"].colors  # for more networks than the usual ten


def costs(rows, path):
    """Draw accuracy against parameters, multiply-adds and latency.

    Args:
        rows: The rows of `zoo.summarize.comparison`.
        path: Path of the picture.
    """
    shown = [cost for cost in COSTS if any(row[cost] for row in rows)]
    figure = Figure(figsize=(4.5 * len(shown), 4.5), layout="constrained")
    for axes, cost in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown
    ):
        axes.set_prop_cycle(color=COLORS)
        label, unit = COSTS[cost]
        for row in rows:
            axes.errorbar(
                row[cost] * unit if row[cost] else float("nan"),
                row["top1"],
                yerr=_to_lowest_and_highest(row),
                marker="o",
                capsize=3,
                label=f"{row['network']}, {row['pixels']} px",
            )
        axes.set_xlabel(label)
        axes.set_ylabel("top-1 (%)")
        axes.grid(True, alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    _save(figure, path, 120)


def curves(runs, path):
    """Draw the validation accuracy of each epoch of the first seed of each
    network and size of images."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=COLORS)
    drawn = set()
    for run in runs:
        name = f"{run.network}, {run.pixels} px"
        if name in drawn:
            continue
        drawn.add(name)
        axes.plot(
            [row["epoch"] + 1 for row in run.history],
            [100 * row["val_top1"] for row in run.history],
            label=name,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 on the validation images (%)")
    axes.grid(True, alpha=0.3)
    figure.legend(loc="outside right upper")
    _save(figure, path, 120)


def curve(history, path):
    """Draw the accuracy on training and validation images of one training.

    Args:
        history: List of dictionaries of floats, one an epoch.
        path: Path of the picture.
    """
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] + 1 for row in history]
    for key, label in (("top1", "training"), ("val_top1", "validation")):
        axes.plot(epochs, [100 * row[key] for row in history], label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 (%)")
    axes.grid(True, alpha=0.3)
    axes.legend()
    _save(figure, path, 100)


def _to_lowest_and_highest(row):
    below = row["top1"] - row["top1_lowest"]
    return [[below], [row["top1_spread"] - below]]


def _save(figure, path, dpi):
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi)

"""The plots of the report."""

import numpy as np
from matplotlib.figure import Figure


def layers(measured, width, path):
    """Draw the time of a step by size of map, for one width."""
    shown = (
        "convolution_3x3",
        "gsa",
        "gsa_pytorch",
        "multi_head_attention",
        "aa",
        "expatt",
        "cram",
    )
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for subject in shown:
        points = [
            (size, subjects[subject]["step_best_ms"])
            for (size, *rest), subjects in measured.cases()
            if rest == [width, 32] and subject in subjects
        ]
        axes.loglog(*zip(*points), marker="o", label=subject)
    axes.set_xticks([14, 28, 56, 112], ["14", "28", "56", "112"], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("height and width of the map, pixels")
    axes.set_ylabel("forward and backward, ms")
    axes.set_title(f"Width {width}, batch 32, TensorFlow, two CPU cores")
    axes.grid(True, alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)


def networks(rows, path):
    """Draw the times of the networks over those of Keras's ResNet-50."""
    rows = [
        row for row in rows if row["dtype"] == "float32" and row["batch"] == 16
    ]
    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for offset, mode in ((-0.2, "forward"), (0.2, "step")):
        ratios = {
            row["network"]: row["over_keras_resnet50"]
            for row in rows
            if row["mode"] == mode
        }
        axes.barh(
            np.arange(len(names)) + offset,
            [ratios[name] for name in names],
            height=0.38,
            label=mode,
        )
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(
        "time over keras.applications.ResNet50, 224 x 224, batch 16"
    )
    axes.legend()
    figure.savefig(path, dpi=120)

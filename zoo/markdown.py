"""Markdown tables of what was measured, and their place on a page."""

import statistics

from zoo.data_sets import DATA_SETS


def with_table(text, mark, new):
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
    return before + begin + new + end + after


def table(header, rows):
    """Return a Markdown table of the text of cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def table_of_comparison(rows):
    """Return the rows of `zoo.summarize.comparison` as a Markdown table."""
    header = (
        "network",
        "px",
        "epochs",
        "parameters (M)",
        "MACs (M)",
        "ms",
        "seeds",
        "top-1 (%)",
        "spread",
        "top-5 (%)",
    )
    cells = [
        (
            row["network"],
            row["pixels"],
            row["epochs"],
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['macs'] / 1e6:.0f}",
            row["latency_ms"],
            row["seeds"],
            f"{row['top1']:.2f}",
            row["top1_spread"] if row["seeds"] > 1 else "",
            f"{row['top5']:.2f}",
        )
        for row in rows
    ]
    return table(header, cells)


def table_of_rectangles(rows):
    """Return the rows of `zoo.study.rectangles` as a Markdown table."""
    header = "rectangle", "size", "boxes", "images", "centre in the box"
    cells = [
        (
            row["rectangle"],
            row["size"],
            row["boxes"],
            row["images"],
            f"{100 * row['center_in_box']:.1f} %",
            f"{row['mean_iou']:.3f}",
        )
        for row in rows
    ]
    return table((*header, "mean IoU"), cells)


def table_of_faithfulness(rows):
    """Return the rows of `zoo.study.faithfulness` as a Markdown table."""
    measures = "pointing game", "energy", "deletion", "insertion"
    header = "network", "map", "boxes", "images"
    cells = [
        (
            *(row[key] for key in ("id", "map", "boxes", "images")),
            *(
                _percent(row, measure.replace(" ", "_"), digits=1)
                for measure in measures
            ),
        )
        for row in rows
    ]
    return table((*header, *(f"{name} (%)" for name in measures)), cells)


def _percent(row, measure, digits):
    """Return a share and its standard error, if it has one, in percent."""
    error = row[f"{measure}_error"]
    plus_minus = f" ± {100 * error:.{digits}f}" if error else ""
    return f"{100 * row[measure]:.{digits}f}{plus_minus}"


def table_of_exports(rows):
    """Return the rows of `zoo.export_matrix`, a line for each weight."""
    cells = {
        (f"`{row['id']}`", row["format"]): (
            f"{100 * row['top1']:.1f} %, {row['bytes'] / 1e6:.1f} MB, "
            f"{row['median_ms']:.1f} ms"
        )
        for row in rows
    }
    return _crossed(("id",), cells)


def _crossed(header, cells):
    """Return a table of cells by all that names their line, and what names
    their column, both in the order in which they come."""
    columns = list(dict.fromkeys(column for *_, column in cells))
    lines = dict.fromkeys(tuple(line) for *line, _ in cells)
    return table(
        (*header, *columns),
        [
            (*line, *(cells.get((*line, column), "") for column in columns))
            for line in lines
        ],
    )


def table_of_fine_tuning(rows):
    """Return the rows of `zoo.study.fine_tuning` as a Markdown table."""
    header = "network", "fine-tuned on", "seeds", "pretrained", "from scratch"
    top1 = {}
    for row in rows:
        begins = top1.setdefault((row["id"], row["data"]), {})
        begins.setdefault(row["begin"], []).append(100 * row["top1"])
    cells = [
        (
            f"`{weight_id}`",
            _name_of(data),
            len(begins["pretrained"]),
            _mean(begins["pretrained"]),
            _mean(begins["from scratch"]),
        )
        for (weight_id, data), begins in top1.items()
    ]
    return table(header, cells)


def _name_of(data):
    return DATA_SETS[data].name if data in DATA_SETS else data


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
    cells = []
    for attention, seeds in sorted(
        by_attention.items(), key=lambda item: -mean(item[1], "mean_iou")
    ):
        scores = [row["mean_iou"] for row in seeds]
        size = count = spread = ""
        if parameters := seeds[0]["parameters"]:  # there is a network
            size = f"{parameters / 1e6:.2f}"
            count = len(seeds)
            spread = f"{max(scores) - min(scores):.3f}"
        of_classes = (f"{mean(seeds, name):.2f}" for name in classes)
        iou = f"{mean(seeds, 'mean_iou'):.3f}"
        cells.append((attention, size, count, iou, spread, *of_classes))
    header = "attention", "parameters (M)", "seeds", "mean IoU", "spread"
    return table((*header, *classes), cells)


def table_of_radii(rows):
    """Return the rows of `zoo.study.radii`, a line for each layer."""
    cells = {
        (*_layer_and_map(row), f"`{row['id']}`"): (
            f"{row['after']:.2f} ({row['image_pixels']:.0f})"
        )
        for row in rows
    }
    return _crossed(("layer", "map"), cells)


def table_of_content(rows):
    """Return the rows of `zoo.study.content`, a line for each layer."""
    cells = {
        (*_layer_and_map(row), f"`{row['name']}`"): (
            f"{row['effective_pixels']:.2f} ({row['key_scale']:.2f})"
        )
        for row in rows
    }
    return _crossed(("layer", "map"), cells)


def _layer_and_map(row):
    return f"`{row['layer']}`", f"{row['map']} x {row['map']}"


def table_of_changes(rows):
    """Return the rows of `zoo.study.changes` as a Markdown table."""
    header = "network", "change", "images", "top-1 (%)", "with new statistics"
    cells = [
        (
            f"`{row['id']}`",
            row["change"],
            row["images"],
            _percent(row, "top1", digits=2),
            _percent(row, "top1_anew", digits=2),
        )
        for row in rows
    ]
    return table(header, cells)


LEAST_ELONGATION = 0.02


def table_of_equivariance(rows):
    """Return the rows of `zoo.study.equivariance`, with errors as shares of
    those of rectangles that stay where they are.

    Squares, as every rectangle is before training, are left out: of their
    angles nothing can be told.
    """
    rows = [row for row in rows if row["elongation"] > LEAST_ELONGATION]
    header = (
        "edges",
        "saliency",
        "run",
        "area",
        "elongation",
        "spread of centres",
        "way of the centre",
        "centres",
        "extents",
        "angles",
    )
    cells = [
        (
            row["edges"],
            row["saliency"],
            f"`{row['name']}`",
            f"{row['area']:.0%}",
            f"{row['elongation']:.2f}",
            f"{row['center_spread']:.1%}",
            f"{row['way']:z.0%}",
            *(
                f"{row[term] / still:.1%}"
                if (still := row[f"still_{term}"])
                else ""
                for term in ("centers", "extents", "angles")
            ),
        )
        for row in sorted(rows, key=lambda row: (row["edges"], row["saliency"]))
    ]
    return table(header, cells)


def table_of_pilots(rows):
    """Return the rows of `zoo.study.pilots`, the best first."""
    header = "recipe", "changes", "epochs", "parameters (M)"
    cells = [
        (
            row["recipe"],
            f"`{row['changes']}`" if row["changes"] else "",
            row["epochs"],
            f"{row['parameters'] / 1e6:.2f}",
            f"{100 * row['training_top1']:.1f}",
            f"{100 * row['top1']:.2f}",
        )
        for row in sorted(rows, key=lambda row: -row["top1"])
    ]
    return table((*header, "training top-1 (%)", "top-1 (%)"), cells)


def table_of_weights(entries):
    """Return published weights as a Markdown table."""
    header = "id", "data", "parameters", "file", "top-1", "top-5"
    cells = []
    for entry in entries:
        [(data, splits)] = entry.metrics.items()
        classes = f"{len(entry.class_names)} classes"
        cells.append(
            (
                f"`{entry.id}`",
                f"{_name_of(data)}, {classes}, {entry.input['size']} px",
                f"{entry.parameters / 1e6:.2f} M",
                f"{entry.bytes / 1e6:.1f} MB",
                f"{100 * splits['val']['top1']:.2f} %",
                f"{100 * splits['val']['top5']:.2f} %",
            )
        )
    return table(header, cells)

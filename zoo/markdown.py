"""Markdown tables of what was measured, and their place on a page."""

import statistics

from zoo import cards


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


def table_of_comparison(rows):
    """Return the rows of `zoo.summarize.comparison` as a Markdown table."""
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
            f"| {row['images']} | {100 * row['center_in_box']:.1f} % "
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
            f"| {row['images']} | {' | '.join(measured)} |"
        )
    return _markdown(header, lines)


def _plus_minus(error, digits=1):
    return f" ± {100 * error:.{digits}f}" if error else ""


def table_of_exports(rows):
    """Return the rows of `zoo.export_matrix`, a line for each weight."""
    by_id = {}
    for row in rows:
        by_id.setdefault(row["id"], {})[row["format"]] = (
            f"{100 * row['top1']:.1f} %, {row['bytes'] / 1e6:.1f} MB, "
            f"{row['median_ms']:.1f} ms"
        )
    formats = list(dict.fromkeys(row["format"] for row in rows))
    lines = []
    for weight_id, cells in by_id.items():
        in_order = [cells.get(name, "") for name in formats]
        lines.append(f"| `{weight_id}` | {' | '.join(in_order)} |")
    return _markdown(f"| id | {' | '.join(formats)} |", lines)


def table_of_fine_tuning(rows):
    """Return the rows of `zoo.study.fine_tuning` as a Markdown table."""
    header = "| network | fine-tuned on | seeds | pretrained | from scratch |"
    top1 = {}
    for row in rows:
        begins = top1.setdefault((row["id"], row["data"]), {})
        begins.setdefault(row["begin"], []).append(100 * row["top1"])
    lines = [
        f"| `{weight_id}` | {_name_of(data)} "
        f"| {len(begins['pretrained'])} | {_mean(begins['pretrained'])} "
        f"| {_mean(begins['from scratch'])} |"
        for (weight_id, data), begins in top1.items()
    ]
    return _markdown(header, lines)


def _name_of(data):
    return cards.DATA_SETS[data][0] if data in cards.DATA_SETS else data


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
        layer = f"`{row['layer']}` | {row['map']} x {row['map']}"
        radius = f"{row['after']:.2f} ({row['image_pixels']:.0f})"
        by_layer.setdefault(layer, {})[row["id"]] = radius
    lines = [
        f"| {layer} | {' | '.join(radii.get(name, '') for name in ids)} |"
        for layer, radii in by_layer.items()
    ]
    names = " | ".join(f"`{name}`" for name in ids)
    return _markdown(f"| layer | map | {names} |", lines)


def table_of_content(rows):
    """Return the rows of `zoo.study.content`, a line for each layer."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    by_layer = {}
    for row in rows:
        layer = f"`{row['layer']}` | {row['map']} x {row['map']}"
        cell = f"{row['effective_pixels']:.2f} ({row['key_scale']:.2f})"
        by_layer.setdefault(layer, {})[row["name"]] = cell
    lines = [
        f"| {layer} | {' | '.join(cells.get(name, '') for name in names)} |"
        for layer, cells in by_layer.items()
    ]
    header = " | ".join(f"`{name}`" for name in names)
    return _markdown(f"| layer | map | {header} |", lines)


def table_of_changes(rows, of):
    """Return the rows of `zoo.study.changes` as a Markdown table."""
    lines = [
        f"| `{row['id']}` | {row['change']} | {row['images']} "
        f"| {_with_error(row, 'top1')} | {_with_error(row, 'top1_anew')} |"
        for row in rows
    ]
    header = f"| network | {of} | images | top-1 (%) | with new statistics |"
    return _markdown(header, lines)


def _with_error(row, measure):
    error = _plus_minus(row[f"{measure}_error"], digits=2)
    return f"{100 * row[measure]:.2f}{error}"


LEAST_ELONGATION = 0.02


def table_of_equivariance(rows):
    """Return the rows of `zoo.study.equivariance`, with errors as shares of
    those of rectangles that stay where they are.

    Squares, as every rectangle is before training, are left out: of their
    angles nothing can be told.
    """
    rows = [row for row in rows if row["elongation"] > LEAST_ELONGATION]
    header = (
        "| edges | saliency | run | area | elongation | spread of centres "
        "| way of the centre | centres | extents | angles |"
    )
    lines = []
    for row in sorted(rows, key=lambda row: (row["edges"], row["saliency"])):
        shares = [
            f"{row[term] / still:.1%}"
            if (still := row[f"still_{term}"])
            else ""
            for term in ("centers", "extents", "angles")
        ]
        lines.append(
            f"| {row['edges']} | {row['saliency']} | `{row['name']}` "
            f"| {row['area']:.0%} | {row['elongation']:.2f} "
            f"| {row['center_spread']:.1%} | {row['way']:z.0%} "
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

"""Tables of the pages."""

import pytest

from zoo import markdown


def test_a_readme_without_marks_is_an_error():
    with pytest.raises(ValueError, match="<!-- cifar100 -->"):
        markdown.with_table("# Nothing\n", "cifar100", "|")


def test_exports_are_a_line_for_each_weight():
    rows = [
        {"id": id, "format": name, "bytes": 2e6, "top1": top1, "median_ms": ms}
        for id in ("a", "b")
        for name, top1, ms in (("keras", 0.5, 3), ("litert", 0.25, 1.26))
    ]
    assert markdown.table_of_exports(rows).splitlines() == [
        "| id | keras | litert |",
        "| --- | --- | --- |",
        "| `a` | 50.0 %, 2.0 MB, 3.0 ms | 25.0 %, 2.0 MB, 1.3 ms |",
        "| `b` | 50.0 %, 2.0 MB, 3.0 ms | 25.0 %, 2.0 MB, 1.3 ms |",
    ]


def test_what_was_not_measured_is_left_empty():
    measured = {"bytes": 2e6, "top1": 0.5, "median_ms": 3}
    rows = [
        {"id": "a", "format": "keras"} | measured,
        {"id": "b", "format": "onnx"} | measured,
    ]
    assert markdown.table_of_exports(rows).splitlines()[2:] == [
        "| `a` | 50.0 %, 2.0 MB, 3.0 ms |  |",
        "| `b` |  | 50.0 %, 2.0 MB, 3.0 ms |",
    ]
    rows = [
        {"id": "a", "begin": begin, "data": "imagenette", "top1": 0.5}
        for begin in ("from scratch", "pretrained")
    ]
    assert "| `a` | imagenette | 1 |" in markdown.table_of_fine_tuning(rows)


def test_fine_tuning_is_shown_beside_its_reference():
    rows = [
        {"id": "a", "begin": begin, "data": "cifar100", "top1": top1}
        for begin, top1 in (
            ("from scratch", 0.25),
            ("pretrained", 0.5),
            ("from scratch", 0.35),
            ("pretrained", 0.503),
        )
    ]
    table = markdown.table_of_fine_tuning(rows)
    scores = "50.1 % (spread 0.3) | 30.0 % (spread 10.0)"
    assert f"| `a` | CIFAR-100 | 2 | {scores} |" in table


def test_radii_are_a_line_for_each_layer_and_a_column_for_each_network():
    rows = [
        {"id": "a", "layer": "first", "map": 8, "after": 1.234},
        {"id": "a", "layer": "second", "map": 4, "after": 2},
        {"id": "b", "layer": "second", "map": 4, "after": 0.5},
    ]
    for row in rows:
        row["image_pixels"] = 32 / row["map"] * row["after"]
    assert markdown.table_of_radii(rows).splitlines() == [
        "| layer | map | `a` | `b` |",
        "| --- | --- | --- | --- |",
        "| `first` | 8 x 8 | 1.23 (5) |  |",
        "| `second` | 4 x 4 | 2.00 (16) | 0.50 (4) |",
    ]


def test_the_effect_of_radii_is_a_line_for_each_setting():
    rows = [
        {"id": "a", "change": radii, "images": 10, "top1": top1}
        | {"top1_error": error, "top1_anew": 0.6, "top1_anew_error": error}
        for radii, top1, error in (("as trained", 0.5, 0.0), (2.0, 0.4, 0.003))
    ]
    table = markdown.table_of_changes(rows).splitlines()
    assert table[0].startswith("| network | change |")
    assert table[2:] == [
        "| `a` | as trained | 10 | 50.00 | 60.00 |",
        "| `a` | 2.0 | 10 | 40.00 ± 0.30 | 60.00 ± 0.30 |",
    ]


def test_equivariance_is_told_as_a_share_of_staying():
    row = {"name": "cram.cifar100_32.seed1", "edges": "black"}
    row |= {"saliency": "found", "way": 0.375}
    row |= {"area": 0.714, "elongation": 0.25, "center_spread": 0.0456}
    row |= {"centers": 0.01, "extents": 0.3, "angles": 0.02}
    row |= {"still_centers": 0.1, "still_extents": 0.2, "still_angles": 0.02}
    square = row | {"edges": "mirrored", "still_angles": 0.0}
    untrained = row | {"name": "open", "elongation": 0.004}
    rows = [square, row, untrained]
    table = markdown.table_of_equivariance(rows).splitlines()
    assert table[2:] == [
        "| black | found | `cram.cifar100_32.seed1` | 71% | 0.25 | 4.6% "
        "| 38% | 10.0% | 150.0% | 100.0% |",
        "| mirrored | found | `cram.cifar100_32.seed1` | 71% | 0.25 | 4.6% "
        "| 38% | 10.0% | 150.0% |  |",
    ]


def test_sharpness_is_a_line_for_each_layer_and_a_column_for_each_network():
    rows = [
        {"name": name, "layer": "first", "map": 8}
        | {"effective_pixels": share, "key_scale": 0.123}
        for name, share in (("a", 0.5), ("b", 0.987))
    ]
    assert markdown.table_of_content(rows).splitlines()[2:] == [
        "| `first` | 8 x 8 | 0.50 (0.12) | 0.99 (0.12) |",
    ]

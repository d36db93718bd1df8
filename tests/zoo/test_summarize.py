"""From finished trainings and studies to the tables of the documents."""

import json
import statistics

import pytest

import keras_attn
from tests.zoo.common import finished_run
from zoo import json_files
from zoo import markdown
from zoo import plots
from zoo import run_folder
from zoo import runs
from zoo import summarize
from zoo import tables


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(
        "# Before\n<!-- cifar100 -->\nold\n<!-- end of cifar100 -->\nAfter.\n"
        "<!-- weights -->\n<!-- end of weights -->\n"
    )
    return tmp_path


def test_runs_become_a_table_with_their_spread(repository):
    folders = [
        finished_run(repository / "runs" / "plain.cifar100_32.seed0", 0.6),
        finished_run(
            repository / "runs" / "cram.cifar100_32.seed0", 0.65, 0, "cram"
        ),
        finished_run(
            repository / "runs" / "cram.cifar100_32.seed1", 0.63, 1, "cram"
        ),
    ]
    summarize.app(list(map(str, folders)), standalone_mode=False)

    rows, facts = tables.read("zoo/results/comparison_cifar100.csv")
    assert "keras" in facts
    assert [row["network"] for row in rows] == ["cram", "plain"]
    cram, plain = rows
    assert cram["seeds"] == 2 and plain["seeds"] == 1
    assert cram["top1"] == 64 and cram["top1_spread"] == 2
    assert cram["top5"] == 90
    assert cram["parameters"] == plain["parameters"] + 16  # one a channel
    assert cram["macs"] > plain["macs"] > 1e5
    readme = (repository / "README.md").read_text()
    assert readme.startswith("# Before\n<!-- cifar100 -->\n| network |")
    assert "<!-- end of cifar100 -->\nAfter.\n<!-- weights -->\n" in readme
    assert all(f"| `{name}` |" in readme for name in keras_attn.list_models())
    assert "old" not in readme and "| 64.00 | 2.0 |" in readme
    for picture in ("comparison_cifar100.png", "curves_cifar100.png"):
        assert (repository / "zoo/results" / picture).stat().st_size > 5000
    assert cram["pixels"] == 16 and cram["epochs"] == 2
    # Again, with nothing new: nothing changes.
    summarize.app([], standalone_mode=False)
    assert (repository / "README.md").read_text() == readme


def test_another_size_of_images_is_another_row(repository):
    for size in (16, 24):
        name = f"plain.cifar100_{size}.seed0"
        runs.keep(finished_run(repository / name, size / 100, size=size))
    times = [
        {"data": data, "network": "plain", "pixels": size, "best_ms": size}
        for data, size in (("cifar100", 16), ("tiny_imagenet", 24))
    ]
    tables.write(summarize.LATENCY, times)
    larger, smaller = summarize.comparison(runs.kept()["cifar100"])
    assert (larger["pixels"], smaller["pixels"]) == (24, 16)
    assert (larger["seeds"], smaller["seeds"]) == (1, 1)
    assert larger["macs"] > smaller["macs"]
    assert (larger["latency_ms"], smaller["latency_ms"]) == ("", 16)


def test_what_is_kept_of_a_run_says_how_it_was_made(repository):
    folder = finished_run(repository / "plain.cifar100_32.seed4", 0.6, seed=4)
    runs.keep(folder)
    history = runs.history_of(folder.name)
    assert history.read_text() == (folder / "history.csv").read_text()
    [(data, [run])] = runs.kept().items()
    assert run.network == "plain" and run.seed == 4
    assert run.started["command"].startswith("python -m zoo.train")
    assert run.result["top1"] == 0.6 and len(run.history) == 2
    assert data == "cifar100"
    record = json.loads(history.with_suffix(".json").read_text())
    assert record["recipe"] == run.recipe


def test_an_unfinished_run_is_left_out(repository, capsys):
    folders = [
        finished_run(repository / f"plain.cifar100_32.seed{seed}", 0.6, seed)
        for seed in (0, 1)
    ]
    (folders[0] / run_folder.RESULT).unlink()
    summarize.app([str(folder) for folder in folders], standalone_mode=False)
    assert "seed0 is left out: no finished" in capsys.readouterr().err
    [run] = runs.kept()["cifar100"]
    assert run.seed == 1
    with pytest.raises(SystemExit, match="nowhere"):
        summarize.app([str(repository / "nowhere")], standalone_mode=False)


def test_another_training_of_the_same_name_is_not_replaced(repository):
    folder = finished_run(repository / "plain.cifar100_32.seed0", 0.6)
    runs.keep(folder)
    history = runs.history_of(folder.name)
    before = history.read_text()
    runs.keep(folder)  # the same one again
    assert history.read_text() == before
    finished_run(repository / "again" / folder.name, 0.7)
    with pytest.raises(SystemExit, match="is of another training"):
        again = str(repository / "again" / folder.name)
        summarize.app([again], standalone_mode=False)
    assert history.read_text() == before


@pytest.mark.parametrize(
    ("seed", "attention", "message"),
    [(0, None, "have the same seed"), (1, "cram", "different recipes")],
)
def test_only_seeds_of_one_recipe_are_averaged(
    repository, seed, attention, message
):
    """A short training, for one, is not a second seed of the whole one."""
    finished_run(repository / "plain.cifar100_32.seed0", 0.6)
    other = repository / "plain.cifar100_32.8epochs.seed0"
    finished_run(other, 0.5, seed, attention)
    summarize.app(
        [str(repository / "plain.cifar100_32.seed0")], standalone_mode=False
    )
    for _ in range(2):  # it is not kept, so a name of its own will do
        with pytest.raises(SystemExit, match=message):
            summarize.app([str(other)], standalone_mode=False)
    other = other.rename(repository / "short_plain.cifar100_32.seed0")
    summarize.app([str(other)], standalone_mode=False)
    rows, _ = tables.read("zoo/results/comparison_cifar100.csv")
    assert [row["seeds"] for row in rows] == [1, 1]


def test_seeds_of_different_backends_are_not_averaged(repository):
    for seed, backend in ((0, {}), (1, {"backend": "jax"})):
        name = f"plain.cifar100_32.seed{seed}"
        folder = finished_run(repository / name, 0.6, seed)
        started = json.loads((folder / run_folder.RUN).read_text())
        del started["backend"]  # as the first ones were kept
        json_files.write(folder / run_folder.RUN, started | backend)
    both = map(str, repository.glob("plain*"))
    with pytest.raises(SystemExit, match="recipes or backends"):
        summarize.app([*both], standalone_mode=False)
    [run] = runs.kept()["cifar100"]
    assert run.seed in (0, 1)  # whichever was there first


def test_a_page_without_its_marks_is_told_in_one_line(repository):
    summarize.RESULTS.mkdir(parents=True)
    summarize.STUDIES.write_text("nothing")
    row = {"id": "a", "change": 2.0, "images": 1, "top1": 1, "top1_error": 0}
    row |= {"top1_anew": 1, "top1_anew_error": 0}
    tables.write("zoo/results/radius_effect.csv", [row])
    with pytest.raises(SystemExit, match="<!-- radius_effect -->"):
        summarize.app([], standalone_mode=False)
    assert summarize.STUDIES.read_text() == "nothing"


def test_the_lowest_and_the_highest_seed_are_drawn(repository):
    for seed, top1 in enumerate((0.69, 0.691, 0.7)):
        name = f"plain.cifar100_32.seed{seed}"
        runs.keep(finished_run(repository / name, top1, seed))
    [row] = summarize.comparison(runs.kept()["cifar100"])
    [[below], [above]] = plots._to_lowest_and_highest(row)
    assert row["top1"] - below == pytest.approx(69)
    assert row["top1"] + above == pytest.approx(70)


def test_data_sets_that_the_readme_has_not_get_their_files(repository):
    run = finished_run(
        repository / "plain.small_64.seed0", 0.6, data="resized/64x64"
    )
    summarize.app([str(run)], standalone_mode=False)
    rows, _ = tables.read("zoo/results/comparison_resized_64x64.csv")
    assert [row["top1"] for row in rows] == [60]
    assert (repository / "zoo/results/curves_resized_64x64.png").is_file()
    assert "-->\nold\n<!--" in (repository / "README.md").read_text()


def test_segmentation_becomes_a_table_with_a_row_for_each_attention(
    repository,
):
    marks = "<!-- segmentation -->\n<!-- end of segmentation -->\n"
    summarize.RESULTS.mkdir(parents=True)
    summarize.STUDIES.write_text(marks)
    summarize.app([], standalone_mode=False)
    assert summarize.STUDIES.read_text() == marks  # nothing was measured yet
    classes = ("ground", "disc", "square", "triangle", "cross", "ring")
    rows = [
        {"attention": name, "mean_iou": mean_iou, "parameters": parameters}
        | {name: mean_iou / 2 for name in classes}
        for name, mean_iou, parameters in (
            ("none", 0.5, 1_250_000),
            ("gsa", 0.6, 1_250_000),
            ("none", 0.52, 1_250_000),
            ("all ground", 0.1, ""),
        )
    ]
    tables.write("zoo/results/segmentation.csv", rows)
    summarize.app([], standalone_mode=False)
    assert summarize.STUDIES.read_text().splitlines() == [
        "<!-- segmentation -->",
        "| attention | parameters (M) | seeds | mean IoU | spread "
        "| ground | disc | square | triangle | cross | ring |",
        "|" + 11 * " --- |",
        "| gsa | 1.25 | 1 | 0.600 | 0.000" + " | 0.30" * 6 + " |",
        "| none | 1.25 | 2 | 0.510 | 0.020" + " | 0.26" * 6 + " |",
        "| all ground |  |  | 0.100 | " + " | 0.05" * 6 + " |",
        "<!-- end of segmentation -->",
    ]


@pytest.mark.parametrize("name", summarize.MEASURED)
def test_the_documents_have_the_figures_of_the_studies(name):
    """If not: python -m zoo.summarize"""
    rows, _ = tables.read(summarize.RESULTS / f"{name}.csv")
    page, table_of = summarize.MEASURED[name]
    table = f"<!-- {name} -->\n{table_of(rows)}<!-- end of {name} -->\n"
    assert table in page.read_text("utf-8")


@pytest.mark.parametrize("data", summarize.IN_README)
def test_the_readme_has_the_comparison_of_the_kept_runs(data):
    """If not: python -m zoo.summarize"""
    rows, _ = tables.read(summarize.RESULTS / f"comparison_{data}.csv")
    table = markdown.table_of_comparison(rows)
    table = f"<!-- {data} -->\n{table}<!-- end of {data} -->\n"
    assert table in summarize.README.read_text("utf-8")
    kept = {}
    for run in runs.kept()[data]:
        of_network = kept.setdefault((run.network, run.pixels), [])
        of_network.append(100 * run.result["top1"])
    assert {(row["network"], row["pixels"]): row["top1"] for row in rows} == {
        # Rounded to two digits.
        network: pytest.approx(statistics.mean(top1), abs=0.006)
        for network, top1 in kept.items()
    }


def test_the_table_of_faithfulness_appears_with_its_file(repository):
    summarize.RESULTS.mkdir(parents=True)
    marks = "<!-- faithfulness -->\n<!-- end of faithfulness -->\n"
    summarize.STUDIES.write_text(marks)
    row = {"id": "a", "map": "Grad-CAM", "boxes": "all", "images": 7}
    row |= {"pointing_game": 0.5, "pointing_game_error": 0.01}
    row |= {"energy": 0.25, "energy_error": 0.02}
    row |= {"deletion": 0.1, "deletion_error": 0.003}
    row |= {"insertion": 0.3, "insertion_error": 0.004}
    tables.write("zoo/results/faithfulness.csv", [row])
    summarize.app([], standalone_mode=False)
    assert (
        "| a | Grad-CAM | all | 7 | 50.0 ± 1.0 | 25.0 ± 2.0 | 10.0 ± 0.3 "
        "| 30.0 ± 0.4 |\n"
        "<!-- end of faithfulness -->"
    ) in summarize.STUDIES.read_text()

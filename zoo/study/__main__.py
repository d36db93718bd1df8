"""The command `python -m zoo.study`."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from zoo import tables

Ids = Annotated[list[str], typer.Argument(metavar="ID...")]
Source = Annotated[str, typer.Argument(metavar="ID|RUN_DIR")]
Sources = Annotated[list[str], typer.Argument(metavar="ID|RUN_DIR...")]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN_DIR...", help="Folders of zoo.train."),
]
DataDir = Annotated[Path, typer.Option(help="Where the data set is.")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure what networks learned, and what they are good "
    "for. Writes to zoo/results, where rows of the same networks are replaced "
    "and those of others are kept. The machine a file names is the last one.",
)


@app.command()
def radii(sources: Sources):
    """The learned radii of ExpAtt, by depth."""
    from zoo.study import radii

    tables.replace(tables.RESULTS / "radii.csv", radii.measure(sources), "id")


@app.command()
def radius_effect(source: Source, data_dir: DataDir):
    """Do the radii of ExpAtt matter, once it is trained?"""
    from zoo.study import radius_effect

    rows = radius_effect.measure(source, data_dir)
    tables.replace(tables.RESULTS / "radius_effect.csv", rows, "id")


@app.command()
def parts(source: Source, data_dir: DataDir):
    """Does GSA use what content and positions tell, once it is trained?"""
    from zoo.study import parts

    rows = parts.measure(source, data_dir)
    tables.replace(tables.RESULTS / "parts.csv", rows, "id")


@app.command()
def rectangles(ids: Ids, data_dir: DataDir):
    """Rectangles of networks against the boxes of Tiny-ImageNet."""
    from zoo.study import rectangles

    rows = rectangles.measure(ids, data_dir)
    tables.replace(tables.RESULTS / "rectangles.csv", rows, "rectangle")


@app.command()
def equivariance(sources: Sources, data_dir: DataDir):
    """Do CRAM's rectangles move with the image?"""
    from zoo.study import equivariance

    path = tables.RESULTS / "equivariance.csv"
    for source in sources:
        rows = equivariance.measure(source, data_dir)
        tables.replace(path, rows, "name", "edges", "saliency")


@app.command()
def content(sources: Sources, data_dir: DataDir):
    """How sharply do layers of GSA attend by content?"""
    from zoo.study import content

    path = tables.RESULTS / "content.csv"
    for source in sources:
        tables.replace(path, content.measure(source, data_dir), "name")


@app.command()
def faithfulness(ids: Ids, data_dir: DataDir):
    """Do maps show the object, and what the network needs?"""
    from zoo.study import faithfulness

    path = tables.RESULTS / "faithfulness.csv"
    for weight_id in ids:
        rows = faithfulness.measure(weight_id, data_dir)
        tables.replace(path, rows, "id")


@app.command()
def fine_tuning(
    ids: Ids,
    data_dir: DataDir,
    data: Annotated[str, typer.Option(help="To fine-tune on.")] = "cifar100",
):
    """Fine-tuning on few images, pretrained against from scratch."""
    from zoo.study import fine_tuning

    path = tables.RESULTS / "fine_tuning.csv"
    for weight_id in ids:
        rows = fine_tuning.measure(weight_id, data, data_dir)
        tables.replace(path, rows, "data", "id")


@app.command()
def segmentation(
    attentions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ATTENTION...",
            help="Attention types, or none. Without: no network is trained.",
        ),
    ] = None,
):
    """Segmentation of generated pictures, trained from random weights."""
    from zoo.study import segmentation

    path = tables.RESULTS / "segmentation.csv"
    rows = segmentation.measure_without_network()
    tables.replace(path, rows, "attention")
    for attention in attentions or ():
        rows = segmentation.measure(attention)
        tables.replace(path, rows, "attention")


@app.command()
def pilots(folders: Folders):
    """Short trainings: what a change of recipe or network brings."""
    from zoo.study import pilots

    rows = pilots.measure(folders)
    tables.replace(tables.RESULTS / "pilots.csv", rows, "name")


def main():
    try:
        app()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"zoo.study: {error}") from None


if __name__ == "__main__":
    main()

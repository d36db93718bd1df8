"""The command `python -m zoo.study`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.benchmark import tables

Ids = Annotated[list[str], typer.Argument(metavar="ID...")]
DataDir = Annotated[Path, typer.Option(help="Where the data set is.")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure what published networks learned; writes to zoo/results.",
)


@app.command()
def radii(ids: Ids):
    """The learned radii of ExpAtt, by depth."""
    from zoo.study import radii

    tables.write(tables.RESULTS / "radii.csv", radii.measure(ids))


@app.command()
def rectangles(ids: Ids, data_dir: DataDir):
    """CRAM's rectangles against the boxes of Tiny-ImageNet."""
    from zoo.study import rectangles

    rows = rectangles.measure(ids, data_dir)
    tables.write(tables.RESULTS / "rectangles.csv", rows)


if __name__ == "__main__":
    app()

"""The command `python -m zoo.benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo import tables
from zoo.benchmark import batches
from zoo.benchmark import comparison
from zoo.benchmark import layers
from zoo.benchmark import memory
from zoo.benchmark import networks
from zoo.benchmark import profile
from zoo.benchmark import report as benchmark_report
from zoo.benchmark import startup

Out = Annotated[Path, typer.Option(help="The folder for the results.")]
Quick = Annotated[
    bool, typer.Option(help="Tiny sizes, to see that everything runs.")
]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure speed and memory. Needs a quiet machine: nothing else may "
    "run. Install with `pip install -e '.\\[benchmark]'`.",
)


def _add(name, module):
    def measure(out: Out = tables.RESULTS, quick: Quick = False):
        if quick and out == tables.RESULTS:
            raise typer.BadParameter("tiny sizes say nothing: they need --out")
        module.run(out / f"benchmark_{name}.csv", quick)

    app.command(name, help=module.__doc__.partition("\n")[0])(measure)


_add("layers", layers)
_add("networks", networks)
_add("memory", memory)
_add("profile", profile)
_add("batches", batches)
_add("comparison", comparison)
_add("startup", startup)


@app.command()
def report(out: Out = tables.RESULTS):
    """Write the tables and plots of what was measured."""
    benchmark_report.run(out)


if __name__ == "__main__":
    app()

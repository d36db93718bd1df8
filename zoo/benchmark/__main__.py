"""The command `python -m zoo.benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo import tables
from zoo.benchmark import batches as batch_benchmark
from zoo.benchmark import comparison as comparison_benchmark
from zoo.benchmark import layers as layer_benchmark
from zoo.benchmark import memory as memory_benchmark
from zoo.benchmark import networks as network_benchmark
from zoo.benchmark import profile as network_profile
from zoo.benchmark import report as benchmark_report
from zoo.benchmark import startup as startup_benchmark


def not_into_results(context: typer.Context, quick: bool):
    if quick and context.params["out"] == tables.RESULTS:
        raise typer.BadParameter("tiny sizes say nothing: they need --out")
    return quick


# Eager, that is, before the options that need to know it.
Out = Annotated[
    Path, typer.Option(help="The folder for the results.", is_eager=True)
]
Quick = Annotated[
    bool,
    typer.Option(
        help="Tiny sizes, to see that everything runs.",
        callback=not_into_results,
    ),
]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure speed and memory. Needs a quiet machine: nothing else may "
    "run. Install with `pip install -e '.[benchmark]'`.",
)


@app.command()
def layers(out: Out = tables.RESULTS, quick: Quick = False):
    """Each attention layer against its peers and a 3x3 convolution."""
    layer_benchmark.run(out / "benchmark_layers.csv", quick)


@app.command()
def networks(out: Out = tables.RESULTS, quick: Quick = False):
    """ResNet-50 with each attention type against keras.applications."""
    network_benchmark.run(out / "benchmark_networks.csv", quick)


@app.command()
def memory(out: Out = tables.RESULTS, quick: Quick = False):
    """The most memory that a training step adds."""
    memory_benchmark.run(out / "benchmark_memory.csv", quick)


@app.command()
def profile(out: Out = tables.RESULTS, quick: Quick = False):
    """Where the time of GSA-ResNet-50 goes, by operation."""
    network_profile.run(out / "benchmark_profile.csv", quick)


@app.command()
def batches(out: Out = tables.RESULTS, quick: Quick = False):
    """How fast training batches are made."""
    batch_benchmark.run(out / "benchmark_batches.csv", quick)


@app.command()
def comparison(out: Out = tables.RESULTS, quick: Quick = False):
    """The networks of the comparison of trainings, one image at a time."""
    comparison_benchmark.run(out / "benchmark_comparison.csv", quick)


@app.command()
def startup(out: Out = tables.RESULTS, quick: Quick = False):
    """Imports, the command line, and a folder of pictures."""
    startup_benchmark.run(out / "benchmark_startup.csv", quick)


@app.command()
def report(out: Out = tables.RESULTS):
    """Write the tables and plots of what was measured."""
    benchmark_report.run(out)


if __name__ == "__main__":
    app()

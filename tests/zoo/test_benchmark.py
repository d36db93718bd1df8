"""The benchmarks run, on sizes too small to tell anything."""

import functools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.applications.common import small_network
from zoo import tables
from zoo.benchmark import __main__
from zoo.benchmark import networks
from zoo.benchmark import report
from zoo.benchmark import timing
from zoo.benchmark.subjects import SUBJECTS


def run_quickly(command, out):
    arguments = [command, "--quick", "--out", str(out)]
    result = CliRunner().invoke(__main__.app, arguments)
    assert result.exit_code == 0, result.output
    return tables.read(out / f"benchmark_{command}.csv")


def run_in_a_process(command, out):
    """What changes the threads, or looks at the memory, of its process."""
    subprocess.run(
        [sys.executable, "-m", "zoo.benchmark", command]
        + ["--quick", "--out", out],
        check=True,
        timeout=600,
        # Compiling takes most of the time: optimise less.
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )
    return tables.read(out / f"benchmark_{command}.csv")


def test_quick_runs_do_not_replace_results():
    result = CliRunner().invoke(__main__.app, ["layers", "--quick"])
    assert result.exit_code == 2 and "need --out" in result.output


def test_the_help_says_what_to_install():
    said = CliRunner().invoke(__main__.app, ["--help"]).output
    assert "pip install -e '.[benchmark]'" in " ".join(said.split())


def test_every_layer_is_timed_on_every_engine(tmp_path):
    rows, facts = run_in_a_process("layers", tmp_path)
    engines = {row["engine"] for row in rows} - {"torch"}
    assert engines == {"tensorflow", "tensorflow_xla", "jax"}
    for engine in engines:
        subjects = {r["subject"] for r in rows if r["engine"] == engine}
        assert subjects == set(SUBJECTS)
    for row in rows:
        assert 0 < row["forward_best_ms"] <= row["forward_median_ms"]
        assert 0 < row["step_best_ms"] <= row["step_median_ms"]
    assert float(facts["float32_matrix_product_gmacs_per_s"]) > 0
    assert facts["tensorflow"] and facts["processor"]


def test_networks_are_timed_against_keras(tmp_path, monkeypatch):
    # The real ones are built to measure their memory and profile, see below.
    names = networks.PEER, "AttnResNet50(None)"
    assert set(networks.build_functions(32, [None])) == set(names)
    small = functools.partial(
        small_network,
        None,
        blocks_per_stage=(1,),
        input_shape=(32, 32, 3),
        classes=1000,
    )
    monkeypatch.setattr(
        networks, "build_functions", lambda *_: dict.fromkeys(names, small)
    )
    rows, _ = run_quickly("networks", tmp_path)
    assert {row["network"] for row in rows} == set(names)
    assert {row["mode"] for row in rows} == {"forward", "step"}
    for row in rows:
        times = {
            other["network"]: other["best_ms"]
            for other in rows
            if same_conditions(row, other)
        }
        for column, name in zip(("over_keras_resnet50", "over_plain"), names):
            over = row["best_ms"] / times[name]
            assert row[column] == pytest.approx(over, abs=1e-3)


def same_conditions(row, other):
    return all(row[key] == other[key] for key in ("mode", "dtype", "batch"))


def test_memory_and_profile_are_measured(tmp_path):
    memory, _ = run_in_a_process("memory", tmp_path)
    assert {row["kind"] for row in memory} == {"layer", "network"}
    assert all(row["step_mib"] > 0 for row in memory)
    profile, _ = run_in_a_process("profile", tmp_path)
    for network in {row["network"] for row in profile}:
        rows = [r for r in profile if r["network"] == network]
        shares = [r["share"] for r in rows if r["mode"] == "step"]
        assert sum(shares) == pytest.approx(1, abs=0.01)
        attends = any(r["where"].startswith("gsa") for r in rows)
        assert attends == ("gsa" in network)


def test_the_peak_counts_what_a_call_allocates():
    size = 64 * 2**20
    assert timing.peak_mebibytes(lambda: np.ones(size, "uint8")) >= 60
    assert timing.peak_mebibytes(lambda: None) < 30


def test_the_report_is_made_from_the_results(tmp_path):
    for file in tables.RESULTS.glob("benchmark_*.csv"):
        shutil.copy(file, tmp_path)
    report.run(tmp_path)
    made = (tmp_path / "benchmark.md").read_text()
    assert made == (tables.RESULTS / "benchmark.md").read_text()
    assert (tmp_path / "benchmark_layers.png").stat().st_size > 10_000


def test_batches_and_the_networks_of_the_comparison_are_timed(tmp_path):
    rows, _ = run_quickly("batches", tmp_path)
    assert [row["crop"] for row in rows] == ["padded", "photos"]
    assert all(row["images_per_second"] > 0 for row in rows)
    assert rows[0]["images_per_second"] > 100  # of 32 pixels, in memory
    rows, _ = run_quickly("comparison", tmp_path)
    assert len(rows) == 2
    assert all(row["median_ms"] >= row["best_ms"] > 0 for row in rows)

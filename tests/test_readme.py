"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

import keras_attn
from keras_attn.weights import manifest

README = Path(manifest.REPOSITORY / "README.md").read_text()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_python_blocks_run_one_after_the_other(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)  # they write files
    (tmp_path / "examples").symlink_to(manifest.REPOSITORY / "examples")
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 6
    exec("\n".join(blocks), {})
    assert "reinitialized" in capsys.readouterr().out


@pytest.mark.parametrize("weight_id", keras_attn.list_models())
def test_the_table_has_the_figures_of_the_manifest(weight_id):
    entry = manifest.entry(weight_id)
    _, _, table = README.partition("<!-- weights -->\n")
    row = next(
        line
        for line in table.splitlines()
        if line.startswith(f"| `{entry.id}`")
    )
    for splits in entry.metrics.values():
        for metrics in splits.values():
            for name in ("top1", "top5"):
                assert f"{metrics[name]:.2%}".replace("%", " %") in row
    assert f"{entry.parameters / 1e6:.2f} M" in row
    assert f"{entry.bytes / 1e6:.1f} MB" in row


def test_the_table_of_speeds_is_the_one_of_the_benchmark():
    measured = (manifest.REPOSITORY / "zoo/results/benchmark.md").read_text()
    rows = [x for x in README.splitlines() if x.startswith("| AttnResNet50(")]
    assert len(rows) >= 6
    assert set(rows) <= set(measured.splitlines())

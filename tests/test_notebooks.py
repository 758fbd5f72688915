"""The notebooks of docs/: their cells run from top to bottom, and what stands last in a cell shows itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import uninas

ROOT = Path(uninas.__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert cells and all(not cell["outputs"] and cell["execution_count"] is None for cell in cells), (
        "results are not kept"
    )
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(cell["source"] for cell in cells) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "error[UNI010]" in done.stdout, "the mistake that it shows"


def test_what_a_person_looks_at_is_short_and_draws_itself():
    graph, model = uninas.load("coatnet"), uninas.create_model("micro_coatnet")
    search = uninas.Search.over("UniNAS", start="resnet")
    for shown in (graph, uninas.space("UniNAS"), uninas.space("mobilenetv2"), model, search):
        assert 20 < len(repr(shown)) < 400 and "\n" not in repr(shown)
    assert repr(model).startswith("<Model micro_coatnet: 3 x 32 x 32 -> 10, ")
    assert model._repr_svg_().lstrip().startswith("<svg") and "<svg" in model._repr_html_()
    assert "def forward" in str(model), "print(model) still shows its code"

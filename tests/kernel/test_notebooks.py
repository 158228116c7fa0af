"""The notebooks run from top to bottom, each with one sign-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("notebook", [path.stem for path in sorted(FOLDER.glob("*.ipynb"))])
def test_a_notebook_runs_to_its_end(notebook):
    ran = subprocess.run(
        [sys.executable, str(FOLDER / "start.py"), notebook, "--check"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.stdout.splitlines()[-1].startswith("OK: "), ran.stdout + ran.stderr
    assert ran.returncode == 0


@pytest.mark.parametrize("notebook", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    assert '"outputs": []' in notebook.read_text()
    assert '"output_type"' not in notebook.read_text()

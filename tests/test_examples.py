"""Every example runs to its end in seconds, and its result is there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
EXPECTED = {
    "composite_study": r"\| 1 % \| 1 \| 0\.",
    "cleanrl_ppo": r"update 12 of 12: 0\.\d+",
    "lives": r"random +sessions +\d+\.\d .* lost within 30 days \d+%",
    "own_agent": r"EpsilonGreedy +\d",
    "own_leave_rule": r"TwoBadSlates: random slates keep people for \d",
    "own_log": r"boredom\+ppo +\d",
    "own_planner": r"LeastShown\+greedy +\d",
    "sb3_ppo": r"MaskablePPO after 2048 steps: +\d",
    "torchrl_reinforce": r"update 8 of 8: \d",
    "what_was_learned": r"error of log-odds after 30 slates: 0\.\d+ believed",
}
"""What the last thing is that each prints."""


def run(*command: str, folder: Path) -> str:
    libraries = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": libraries, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


def marked(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow) if name in ("own_log", "composite_study") else name


@pytest.mark.parametrize("name", [marked(name) for name in EXPECTED])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if name.startswith("torchrl"):
        pytest.importorskip("torchrl", reason="torchrl is not installed; pip install 'lerl-rec[docs]' has it")
    assert re.search(EXPECTED[name], run(str(EXAMPLES / f"{name}.py"), folder=tmp_path))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1]


def test_the_notebook_draws_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="nbclient is not installed; pip install 'lerl-rec[docs]' has it")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed; pip install 'lerl-rec[docs]' has it")
    code = (
        "import nbformat, nbclient, sys\n"
        "notebook = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(notebook, timeout=240, kernel_name='python3').execute()\n"
        "outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]\n"
        "print('pictures:', sum('image/png' in output.get('data', {}) for output in outputs))\n"
    )
    assert "pictures: 1" in run("-c", code, str(EXAMPLES / "session.ipynb"), folder=tmp_path)

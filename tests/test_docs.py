"""The code on the pages runs as written: blocks marked as a test, page by page, in a folder of their own.

```python test and ```sh test blocks are run in the page's order; a python block with a title is also written to a file.
Shell blocks have the checkout's own `lerl`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(python|sh) test(?: title="([\w.]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
MOST_BYTES = 8192
"""Of the README, which is read on one screen or not at all."""


class Block(NamedTuple):
    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


WITH_TESTS = [page for page in PAGES if blocks(page)]
MOST_TRAININGS = 1
"""Of a page that is no slow test."""


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `lerl` and `python` are the checkout's and the tests' own."""
    commands = tmp_path / ".commands"
    commands.mkdir()
    for name, call in (("lerl", f"{sys.executable} -m lerl"), ("python", sys.executable)):
        (commands / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    libraries = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PATH": path, "PYTHONPATH": libraries, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


def marked(page: Path) -> Any:
    trainings = sum(block.code.count("lerl train") for block in blocks(page))
    marks = [pytest.mark.slow] if trainings > MOST_TRAININGS else []
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", [marked(page) for page in WITH_TESTS])
def test_the_code_of_a_page_runs_as_written(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.code, encoding="utf-8")
        command = [sys.executable, "-c", block.code] if block.language == "python" else ["bash", "-euc", block.code]
        ran = subprocess.run(command, cwd=folder, env=shell, capture_output=True, text=True, check=False, timeout=300)
        assert ran.returncode == 0, f"{block.code}\n{ran.stdout}\n{ran.stderr}"


def test_pages_with_code_are_tested_at_all() -> None:
    """A mark that is misspelt would leave code unread."""
    names = {str(page.relative_to(ROOT)) for page in WITH_TESTS}
    assert {"README.md", "docs/start/python.md", "docs/start/command-line.md", "docs/how-to/own-logs.md"} <= names
    for page in PAGES:
        marks = re.findall(r"^```.* test\b.*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(marks) == len(blocks(page)), f"{page} marks a block that is not run: {marks}"


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= MOST_BYTES


def test_the_readme_links_to_what_there_is() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    files = [link for link in links if not link.startswith("http")]
    assert len(files) > 5
    assert [link for link in files if not (ROOT / link).exists()] == []

"""MkDocs hook: what is made from the code, and marks of code blocks that a reader need not see.

A page says <!-- made: NAME --> where something made stands: the configuration tree (from its dataclasses), the recipes
(from runs/*.yaml) or the commands (from `lerl --help`). A fence marked as a test, such as ```python test, is run by
tests/test_docs.py and shown without the mark.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TEST_MARK = re.compile(r"^(\s*```\w+) test\b", re.MULTILINE)
MADE_MARK = re.compile(r"<!-- made: (\w+) -->")
sys.path.insert(0, str(ROOT))  # the checkout's own lerl, installed or not


class Entry(NamedTuple):
    """One key of the configuration, in words."""

    name: str
    default: str
    help: str
    about: str  # what its section is about


def configuration() -> Iterator[Entry]:
    """Every key of the configuration; the one place here that knows how the tree is kept."""
    from lerl.config.parse import known_keys

    for key in known_keys().values():
        yield Entry(key.name, _value(key.default), key.help, key.section)


def _value(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value).replace("'", "")


def configuration_tables() -> str:
    """The tree, a table for each section."""
    page = []
    for section, entries in groupby(configuration(), lambda entry: entry.name.rpartition(".")[0]):
        rows = list(entries)
        about = _cell(rows[0].about)
        page.append(f"## {section or 'The run'}\n\n{about[:1].upper()}{about[1:]}\n")
        page.append("| key | default | what it means |\n|---|---|---|")
        page += [f"| `{row.name}` | `{_cell(row.default)}` | {_cell(row.help)} |" for row in rows]
        page.append("")
    return "\n".join(page)


def _cell(text: str) -> str:
    """Text that neither ends a cell of a table nor opens an HTML tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def recipes() -> str:
    """The recipes that come with lerl, as they are."""
    paths = sorted((ROOT / "runs").glob("*.yaml"))
    return "\n".join(f"## {path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n" for path in paths)


def commands() -> str:
    """What `lerl --help` prints."""
    command = [sys.executable, "-m", "lerl", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return f"```text\n{ran.stdout.strip()}\n```"


MADE = {"configuration": configuration_tables, "recipes": recipes, "commands": commands}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what is made, and take away the marks of tests."""
    return TEST_MARK.sub(r"\1", MADE_MARK.sub(lambda mark: MADE[mark[1]](), markdown))

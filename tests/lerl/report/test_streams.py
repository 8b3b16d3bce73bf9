"""Names and reasons that others wrote command no terminal and spoil no picture."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure
from rich.table import Table

from lerl.cli.data import print_rows
from lerl.cli.main import main
from lerl.envs.text import UNSEEN, one_line, visible
from lerl.report.screen import Screen
from lerl.report.streams import Lasting
from lerl.report.style import STYLE, save
from lerl.report.tables import markdown_table

HOSTILE = "a\x1b[31mb\x9b2Jc\rd\x07e\u202ef\x00g\ufffe"
SEEN = "a\ufffd[31mb\ufffd2Jc\ufffdd\ufffde\ufffdf\ufffdg\ufffd"


def test_what_no_page_shows_is_replaced_and_the_rest_stays() -> None:
    assert visible(HOSTILE) == SEEN
    assert visible("caf\u00e9 \u6f22\u5b57 \U0001f600\n\ttab") == "caf\u00e9 \u6f22\u5b57 \U0001f600\n\ttab"
    assert one_line("a\nb\tc") == "a b c"
    assert visible("\ud800") == "\ufffd"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_prints_are_visible_and_colours_of_tables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    there = Terminal()
    out: Any = Lasting(there)
    print(HOSTILE, file=out)
    assert there.getvalue() == SEEN + "\n"
    table = Table("name", style="red")
    table.add_row(HOSTILE.replace("[", r"\["))
    Screen(out, width=80).print(table)
    shown = there.getvalue()[len(SEEN) + 1 :]
    assert "a\ufffd[31mb\ufffd2Jc" in shown
    assert "\x1b[31m\u2502" in shown  # the table's own red
    assert "\x9b" not in shown


def test_errors_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HOSTILE.replace("\x00", "")]) == 2
    assert main(["train", f"{HOSTILE}.yaml"]) == 2
    assert not UNSEEN.search(capsys.readouterr().err)


def test_rows_of_labels_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([("largest", "x\nfake  row")])
    assert capsys.readouterr().out == "largest  x fake  row\n"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_of_hostile_names_can_be_read(tmp_path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        axes.set_title(HOSTILE)
        axes.plot([0, 1], label=HOSTILE)
        axes.legend()
        axes.set_yticks([0, 1], [HOSTILE, "--><script>"])
        _, svg = save(figure, tmp_path / "picture")
    ElementTree.parse(svg)
    assert not UNSEEN.search(svg.read_text(encoding="utf-8"))


def test_a_name_with_bars_and_lines_stays_in_its_cell_of_markdown() -> None:
    assert markdown_table("row", ["R"], [["a|b\nc", "1"]])[2] == "| a&#124;b c | 1 |"

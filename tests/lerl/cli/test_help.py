"""Help, recipes, the resolved configuration and shell completion."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lerl.cli.completion import SHELLS
from lerl.cli.main import COMMANDS, HELP, main
from lerl.config.keys import known_keys
from lerl.config.parse import configure, load
from lerl.config.recipes import find_recipe, recipes

SCREEN = 24, 80  # lines and columns


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [["train"], ["tune"], ["experiment"], ["plan", "--estimate"]])
def test_help_of_a_command_with_a_recipe_fits_on_a_screen(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, *command, "--help").splitlines()
    assert len(lines) <= SCREEN[0]
    assert max(map(len, lines)) <= SCREEN[1]
    assert lines[0].startswith(f"usage: lerl {' '.join(command)} ")
    assert any(line.startswith("Example: lerl ") for line in lines)
    named = set(re.findall(r"^  --([\w.]+) (?=.*  )", "\n".join(lines), re.MULTILINE))
    assert {name for name in named if "." in name} <= set(known_keys())


@pytest.mark.parametrize("command", ["train", "tune", "experiment"])
def test_examples_in_help_can_be_read(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"^Example: lerl (.*)$", printed(capsys, command, "--help"), re.MULTILINE)
    assert printed(capsys, *example.split(), "--print-config").startswith("seed: ")


def test_help_all_lists_every_key_that_a_command_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("train: {steps: 123454321}\n")
    text = printed(capsys, "train", "--help-all")
    read = [name for name in known_keys() if not name.startswith(("tune.", "experiment."))]
    assert re.findall(r"^  --([\w.]+) ", text, re.MULTILINE) == read
    assert max(map(len, text.splitlines())) <= SCREEN[1]
    assert "\ntrain.off_policy: learners with a replay buffer." in text
    assert "a whole number from 0 to 10,000,000,000; default: 400000" in " ".join(text.split())
    assert "default: 123454321" in " ".join(printed(capsys, "train", str(tmp_path / "mine.yaml"), "--help-all").split())


@pytest.mark.parametrize(("command", "lacking"), [("experiment", "quickstart"), ("tune", "goodbooks")])
def test_help_lists_the_recipes_that_a_command_takes(
    command: str, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(printed(capsys, command, "--help").split())
    assert "whole_session, whole_session_movielens, or a path" in text
    assert f"{lacking}," not in text


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--help") == HELP
    assert max(map(len, HELP.splitlines())) <= SCREEN[1]
    for start in (*COMMANDS, "0    done", "1    failed", "2    the command", "130  interrupted", "141  done"):
        assert f"\n  {start}" in HELP


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("data", "train", "tune", "experiment")])
def test_help_of_every_command_is_no_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, command, "--help").startswith(f"usage: lerl {command} ")


def test_recipes_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "recipes").splitlines()
    assert [line.split()[0] for line in lines] == recipes()
    assert all(len(line.split()) > 3 and len(line) <= SCREEN[1] for line in lines)


def test_print_config_shows_what_would_be_trained_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = printed(capsys, "train", "--print-config", "quickstart", "--train.steps", "5")
    Path("all.yaml").write_text(text)
    assert load(Path("all.yaml")) == configure(find_recipe("quickstart"), {"train.steps": "5"})
    assert yaml.safe_load(text)["train"]["steps"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["all.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "quickstart", "--print-config=x"], "--print-config takes no value, given 'x'"),
        (["experiment", "whole_session", "--quick", "--quick"], "--quick is given twice; give it once"),
        (["completion", "csh"], "argument SHELL: invalid choice: 'csh'"),
        (["recipes", "quickstart"], "unrecognized arguments: quickstart"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"lerl: error: {message}")


@pytest.fixture
def complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[str]]:
    """What bash offers for the last word of a line."""
    (tmp_path / "lerl.bash").write_text(printed(capsys, "completion", "bash"))

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        script = (
            f"source {tmp_path / 'lerl.bash'}; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
            "_lerl; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        ran = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
        assert ran.stderr == ""
        return ran.stdout.split()

    return offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lerl exp", ["experiment", "export"]),
        ("lerl expe", ["experiment"]),
        ("lerl train qui", ["quickstart"]),
        ("lerl train quickstart --train.ep", ["--train.epochs"]),
        ("lerl train quickstart --pri", ["--print-config"]),
        ("lerl tune --tune.tr", ["--tune.trials"]),
        ("lerl train --tune.tr", []),
        ("lerl experiment whole_session --qu", ["--quick"]),
        ("lerl data pre", ["prepare"]),
        ("lerl completion ", ["bash", "zsh", "fish"]),
        ("lerl compare ru", []),
    ],
)
def test_bash_completes_commands_recipes_and_flags(
    complete: Callable[[str], list[str]], line: str, offered: list[str]
) -> None:
    assert complete(line) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_told_all_commands_recipes_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", shell)
    for word in (*COMMANDS, *recipes(), "--env.boredom.weight", "--tune.trials", "--experiment.seeds"):
        assert re.search(rf"[\s\"(]{re.escape(word)}[\s\")]", script), word
    assert "@" not in script

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest

from lerl import __version__
from lerl.cli.main import main
from lerl.config.errors import SettingsError
from lerl.config.parse import load
from lerl.config.recipes import find_recipe
from lerl.config.schema import Config
from lerl.report.streams import Lasting
from lerl.run.folder import check_vacant

AGENTS = ["boredom+ppo", "random", "privileged"]
TRAIN = ["train", "quickstart"]
EVALUATE_WHAT = "give one run, such as lerl evaluate runs/quickstart-seed0, given none; see lerl evaluate --help"
NOT_TUNED = "--experiment.jobs does nothing for lerl tune, only for lerl experiment; leave it out"


@pytest.fixture
def trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_run: Callable[..., Path]
) -> list[tuple[Config, Path]]:
    """What the command gave to lerl.run.train; each call leaves a made-up run in the working folder, tmp_path."""
    calls: list[tuple[Config, Path]] = []

    def train(config: Config, out: Path, tracked: object, **where: object) -> None:
        check_vacant(out)
        calls.append((config, out))
        make_run(seed=config.seed, name=str(out), agents=AGENTS)

    monkeypatch.chdir(tmp_path)
    _replace(monkeypatch, "lerl.run.train", train=train)
    return calls


def _replace(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_without_the_packages_for_pictures_a_run_ends_well_and_says_so(
    trained: list[tuple[Config, Path]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    assert main(TRAIN) == 0
    said = "lerl: note: no pictures, as this needs matplotlib; install it with: pip install 'lerl-rec[plot]'\n"
    assert capsys.readouterr().err == said


def test_train_gives_recipe_and_flags_to_train_and_prints_table_and_pictures(
    trained: list[tuple[Config, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "--seed", "3", "--train.steps=1000", "--evaluation.bootstrap", "100"]) == 0
    (config, out), printed = trained[0], _lines(capsys.readouterr().out)
    assert (config.seed, config.train.steps, out) == (3, 1000, Path("runs/quickstart-seed3"))
    assert config.agents == load(find_recipe("quickstart")).agents
    assert {line.split()[0] for line in printed} >= set(AGENTS)
    pictures = [Path(line.strip()) for line in printed if line.endswith(".png")]
    assert pictures
    assert all(path.is_file() and path.parent == out / "plots" for path in pictures)
    assert (out / "summary.json").is_file()


def test_train_takes_a_recipe_by_path_and_an_output_folder(trained: list[tuple[Config, Path]], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5\nagents: [random]\nevaluation: {bootstrap: 100}\n")
    assert main(["train", "--out", "here", "--env.drift.noise", "0", "mine.yaml"]) == 0
    config, out = trained[0]
    assert (config.seed, config.agents, config.env.drift.noise, out) == (5, ["random"], 0.0, Path("here"))


def test_train_refuses_a_folder_that_holds_a_run(
    trained: list[tuple[Config, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TRAIN, "--evaluation.bootstrap", "100", "--out", "here"]
    assert (main(arguments), main(arguments)) == (0, 2)
    assert len(trained) == 1
    assert _lines(capsys.readouterr().err) == [
        "lerl: error: here already holds a run; go on with it by lerl train --resume here, remove it, or give another "
        "folder with --out"
    ]


def test_train_uses_an_empty_folder_but_not_one_with_other_things(
    trained: list[tuple[Config, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    assert main([*TRAIN, "--out", "other"]) == 2
    assert main([*TRAIN, "--out", "other/letter.txt"]) == 2
    assert "other/letter.txt is taken" in capsys.readouterr().err
    assert trained == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command given; lerl --help lists the commands"),
        (["frobnicate"], "unknown command 'frobnicate'; lerl --help lists the commands"),
        (
            ["tarin"],
            "unknown command 'tarin'. Did you mean train? lerl --help lists the commands",
        ),
        (["train"], "give one recipe, such as lerl train quickstart, given none; see lerl train --help"),
        (
            [*TRAIN, "x"],
            "give one recipe, such as lerl train quickstart, given quickstart and x; see lerl train --help",
        ),
        ([*TRAIN, "--out"], "--out needs a folder"),
        ([*TRAIN, "--env.bordom.weight", "1"], "unknown key --env.bordom.weight. Did you mean --env.boredom.weight?"),
        (
            [*TRAIN, "--train.steps", "many"],
            "train.steps must be a whole number from 0 to 10,000,000,000, given 'many'",
        ),
        (
            [*TRAIN, "--train.steps", "--seed", "1"],
            "--train.steps needs a value: a whole number from 0 to 10,000,000,000",
        ),
        ([*TRAIN, "-x", "1"], "unknown key --x."),
        ([*TRAIN, "--seed", "0", "--seed=1"], "--seed is given twice; give it once"),
        ([*TRAIN, "--agents+", "random", "--agents", "[random]"], "--agents is given twice; give it once"),
        (["compare", "a", "--out", "x", "--out", "y"], "--out is given twice; give it once; see lerl compare --help"),
        (
            ["data", "prepare", "x", "--format", "movielens", "--out", "y", "--dim", "99999"],
            "argument --dim: must be a whole number from 1 to 512, given '99999'; see lerl data prepare --help",
        ),
        (["train", "no.yaml"], "there is no recipe file no.yaml"),
        ([*TRAIN, "--out", "r\udcff"], "'r\\xff' is no UTF-8, as names of files have to be; give another name"),
        (
            [*TRAIN, "--experiment.seeds", "2"],
            "--experiment.seeds does nothing for lerl train, only for lerl experiment; leave it out",
        ),
        (["tune", "quickstart", "--experiment.jobs", "2"], NOT_TUNED),
        (
            ["plan", "--estimate", "quickstart", "--tune.trials", "2"],
            "--tune.trials does nothing for lerl plan --estimate, only for lerl tune; leave it out",
        ),
        (
            ["experiment", "whole_session", "--agents", "[random]"],
            "--agents does nothing for lerl experiment, only for lerl train; leave it out",
        ),
        (
            ["experiment"],
            "give one recipe, such as lerl experiment whole_session --quick, given none; see lerl experiment --help",
        ),
        (
            ["experiment", "quickstar"],
            "there is no recipe 'quickstar'. There are: whole_session, whole_session_movielens. Give a recipe of your "
            "own as a path that ends in .yaml.",
        ),
        (["evaluate"], EVALUATE_WHAT),
        (["compare", "a", "--frob"], "unrecognized arguments: --frob; see lerl compare --help"),
        (["plot", "a", "b"], "give --out FOLDER for the pictures of several runs"),
        (["data"], "the following arguments are required: COMMAND; see lerl data --help"),
    ],
)
def test_a_bad_command_line_is_one_line_and_exit_code_2(
    trained: list[tuple[Config, Path]], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"lerl: error: {message}\n")
    assert trained == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SettingsError("seed must be\n at least 0"), 2, "lerl: error: seed must be at least 0"),
        (ValueError("x"), 1, "lerl: failed: ValueError: x; run it again with --debug to see where"),
        (FileNotFoundError("no folder x"), 2, "lerl: error: no folder x"),
        (KeyError("T"), 1, "lerl: failed: KeyError: 'T'; run it again with --debug to see where"),
        (KeyboardInterrupt(), 130, "lerl: interrupted"),
        (SystemExit(0), 1, "lerl: failed: SystemExit: 0; run it again with --debug to see where"),
        (
            polars.exceptions.PanicException("called\n`unwrap`"),
            1,
            "lerl: failed: PanicException: called `unwrap`; run it again with --debug to see where",
        ),
    ],
)
def test_what_goes_wrong_while_training_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def train(config: Config, out: Path, tracked: object, **where: object) -> None:
        raise error

    _replace(monkeypatch, "lerl.run.train", train=train)
    monkeypatch.chdir(tmp_path)
    assert main(TRAIN) == code
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("arguments", [["--debug", "tarin"], ["tarin", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert printed.endswith(
        "lerl: error: unknown command 'tarin'. Did you mean train? lerl --help lists the commands\n"
    )


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path]
) -> None:
    def evaluate(run: Path, trust: bool) -> Config:
        warnings.simplefilter("always")
        warnings.warn("two agents\nwere left out", stacklevel=2)
        return Config()

    _replace(monkeypatch, "lerl.run.evaluate", evaluate=evaluate)
    assert main(["evaluate", str(make_run(agents=AGENTS))]) == 0
    assert capsys.readouterr().err == "lerl: warning: two agents were left out\n"


def test_evaluate_evaluates_again_and_prints_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path]
) -> None:
    calls: list[Path] = []
    _replace(monkeypatch, "lerl.run.evaluate", evaluate=lambda run, trust: calls.append(run) or Config())
    run = make_run(agents=AGENTS)
    assert main(["evaluate", str(run)]) == 0
    assert calls == [run]
    assert "boredom+ppo" in capsys.readouterr().out
    assert (run / "summary.md").is_file()


def test_compare_prints_runs_as_one_table_and_writes_it_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path]
) -> None:
    runs = [str(make_run(seed=seed, agents=AGENTS)) for seed in (0, 1)]
    assert main(["compare", *runs, "--bootstrap", "50"]) == 0
    table = capsys.readouterr().out
    assert [table.count(f"\n{agent} ") for agent in AGENTS] == [2, 2, 2]  # once in each part of the table
    assert main(["compare", *runs, "--bootstrap", "50", "--out", str(tmp_path / "s"), "--reference", "random"]) == 0
    assert "R_cum of random" in capsys.readouterr().out
    assert (tmp_path / "s" / "summary.json").is_file()


def test_compare_says_what_is_wrong_with_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a run folder" in capsys.readouterr().err


def test_plot_draws_into_the_run_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path]
) -> None:
    run = make_run(agents=AGENTS)
    assert main(["plot", str(run), "--bootstrap", "50"]) == 0
    assert str(run / "plots" / "satisfaction.png") in capsys.readouterr().out
    assert main(["plot", str(run), "--bootstrap", "50", "--out", str(tmp_path / "here")]) == 0
    assert (tmp_path / "here" / "satisfaction.png").is_file()


def test_data_prepare_hands_everything_on_and_prints_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[Any, ...]] = []

    def prepare(*given: Any, **options: Any) -> types.SimpleNamespace:
        options.pop("note")("genres are tags")
        calls.append((*given, options))
        rows = [("users", "6,040"), ("base rate", "0.575")]
        return types.SimpleNamespace(rows=lambda: rows, items=3_706, ordered=True, directions=3_706)

    _replace(monkeypatch, "lerl.envs.prepare", prepare=prepare)
    options = ["--out", "data/ml", "--dim", "8", "--seed", "2", "--overwrite"]
    assert main(["data", "prepare", "--format", "movielens", "ml-1m", *options]) == 0
    assert calls == [("movielens", Path("ml-1m"), Path("data/ml"), {"dim": 8, "seed": 2, "overwrite": True})]
    printed = capsys.readouterr().out
    assert "genres are tags\nusers      6,040\nbase rate  0.575\n" in printed
    assert "lerl fit data/ml --model latent --dynamics && lerl train movielens --data.path data/ml\n" in printed
    assert printed.endswith(": lerl train movielens --data.path data/ml --data.users assumed\n")


def test_data_import_hands_on_what_was_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def import_logs(*given: Any, **options: Any) -> types.SimpleNamespace:
        options.pop("note")("users are who")
        calls.append((given, options))
        return types.SimpleNamespace(rows=lambda: [("users", "6,040")], items=40, ordered=False, directions=40)

    _replace(monkeypatch, "lerl.envs.prepare", import_logs=import_logs)
    flags = ["--user", "who", "--click-from", "3.5", "--time-unit", "ms", "--separator", "", "--min-interactions", "5"]
    assert main(["data", "import", "--interactions", "log.csv", "--out", "data/my own", *flags]) == 0
    ((given, options),) = calls
    assert given == (Path("log.csv"), None, Path("data/my own"))
    choices = options.pop("choices")
    assert options == {"dim": 8, "seed": 0, "overwrite": False}
    assert (choices.user, choices.click_from, choices.time_unit, choices.separator) == ("who", 3.5, "ms", "")
    assert (choices.item, choices.min_interactions) == (None, 5)
    printed = capsys.readouterr().out
    assert printed.startswith("users are who\nusers  6,040\n")
    assert "lerl fit" not in printed
    command = (
        "lerl train logs --data.path 'data/my own' --planner.clusters 10 --env.topic_count 10 --data.users assumed\n"
    )
    assert printed.endswith(f": {command}")


def test_data_get_shows_progress_and_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(name: str, folder: Path, address: str | None, report: Callable[[int, int | None], None]) -> str:
        report(500_000, 2_000_000)
        report(2_000_000, 2_000_000)
        return f"what {address} says"

    sources = {"movielens-1m": types.SimpleNamespace(format="movielens")}
    _replace(monkeypatch, "lerl.envs.download.sources", fetch=fetch, SOURCES=sources)
    assert main(["data", "get", "movielens-1m", "--url", "http://mirror"]) == 0
    printed = capsys.readouterr()
    assert "unpacked to data/raw/movielens-1m, verified by: what http://mirror says\n" in printed.out
    next_command = "lerl data prepare --format movielens data/raw/movielens-1m --out data/movielens-1m\n"
    assert printed.out.endswith(next_command)
    assert printed.err == "movielens-1m: 0.5 of 2.0 MB\nmovielens-1m: 2.0 of 2.0 MB\n"


@pytest.mark.parametrize("out", [[], ["--out", "there"]])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_reference_that_is_no_agent_is_refused_wherever_it_stands(
    capsys: pytest.CaptureFixture[str],
    make_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: int,
    out: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        make_run(seed=seed, agents=AGENTS)
    arguments = ["compare", "run-s0", "run-s1", *out]
    for reference, code in {"nope": 2, **dict.fromkeys(AGENTS, 0)}.items():
        assert main([*arguments[:place], "--reference", reference, *arguments[place:], "--bootstrap", "100"]) == code
        printed = capsys.readouterr()
        if code:
            assert printed.out == ""
            said = "no agent 'nope' in these runs, there are boredom+ppo, random, privileged"
            assert printed.err == f"lerl: error: {said}\n"
            assert not Path("there").exists()
        else:
            assert re.search(r"\nagent +ratio +95 % interval\n", printed.out)


@pytest.mark.parametrize("out", ["file", "file/inside"])
@pytest.mark.parametrize("command", ["compare", "plot"])
def test_a_file_where_a_folder_should_go_is_said_without_numbers_of_the_system(
    capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path], tmp_path: Path, command: str, out: str
) -> None:
    (tmp_path / "file").write_text("mine")
    run = make_run(agents=AGENTS)
    assert main([command, str(run), "--bootstrap", "100", "--out", str(tmp_path / out)]) == 2
    said = capsys.readouterr().err
    mend = "a folder is needed there; give another path"
    assert re.fullmatch(rf"lerl: error: {tmp_path / out}: (File exists|Not a directory); {mend}\n", said)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(
    capsys: pytest.CaptureFixture[str], make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main(["compare", str(make_run(agents=AGENTS)), "--bootstrap", "100", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == (
        f"lerl: error: {tmp_path / 'x'}: Permission denied; give another path, or the right to use this one\n"
    )


def test_commands_in_hints_can_be_pasted(
    make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run(name="a run; ls", agents=AGENTS)
    assert main([*TRAIN, "--out", str(run)]) == 2
    assert f"lerl train --resume '{run}', remove it" in capsys.readouterr().err
    (run / "items.parquet").unlink()
    assert main(["compare", str(run)]) == 2
    assert capsys.readouterr().err.endswith(f"go on with: lerl train --resume '{run}'\n")
    assert main(["train", "--resume", str(tmp_path / "no run")]) == 2
    assert capsys.readouterr().err.endswith(f"lerl train RECIPE --out '{tmp_path / 'no run'}'\n")


@pytest.mark.parametrize("name", ["import", "get", "prepare", "describe"])
def test_every_data_command_has_help(name: str) -> None:
    ran = _run_module("data", name, "--help")
    printed, complaints = ran.communicate()
    assert (ran.returncode, complaints) == (0, "")
    assert printed.startswith(f"usage: lerl data {name} ")


def test_the_names_to_get_are_the_sources() -> None:
    from lerl.cli.data import SETS
    from lerl.envs.download.sources import SOURCES

    assert set(SETS) == set(SOURCES)


def _run_module(*arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-m", "lerl", *arguments], cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_the_module_is_the_same_as_the_command() -> None:
    version = _run_module("--version")
    assert (version.communicate(), version.returncode) == ((f"{__version__}\n", ""), 0)
    wrong = _run_module("tarin")
    assert wrong.communicate()[1].startswith("lerl: error: unknown command 'tarin'")
    assert wrong.returncode == 2


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = _run_module("train", "--help")
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    with command.stderr as stderr:
        assert stderr.read() == ""
    assert command.wait() == 141


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_run_is_finished_though_nobody_reads_its_table_or_progress(
    trained: list[tuple[Config, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert main([*TRAIN, "--out", "here", "--evaluation.bootstrap", "100"]) == 141
    assert Path("here/summary.json").is_file()
    assert Path("here/plots/satisfaction.png").is_file()


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), (">/dev/full", 2)])
def test_closed_and_full_streams_are_no_bug(closed: str, code: int) -> None:
    ran = subprocess.run(
        f"{shlex.quote(sys.executable)} -m lerl --version {closed}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
    assert "AttributeError" not in ran.stderr


@pytest.mark.parametrize("where", ["lerl.cli.main", "lerl.experiment.tune", "optuna"])
def test_an_interruption_while_modules_are_imported_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {where!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "lerl", "tune", "movielens"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 130
    assert ran.stderr.splitlines() in (
        ["lerl: interrupted"],
        ["lerl: interrupted; the same command goes on with the search"],
    )


def test_flags_that_change_nothing_are_noted(
    trained: list[tuple[Config, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--agents",
        "[random,flat+ppo]",
        "--planner.size",
        "3",
        "--env.leave.window.most",
        "2",
        "--train.gamma",
        "0",
    ]
    assert main([*TRAIN, *flags, "--evaluation.bootstrap", "100"]) == 0
    assert _lines(capsys.readouterr().err) == [
        "lerl: note: --planner.size changes nothing here, since none of agents has a planner",
        "lerl: note: --env.leave.window.most changes nothing here, since env.leave.rule is satisfaction",
    ]


def test_letters_that_a_stream_cannot_hold_become_escapes() -> None:
    kept = io.BytesIO()
    stream = Lasting(io.TextIOWrapper(kept, encoding="latin-1"))
    stream.write("\u7f8e\xe9\n")
    stream.flush()
    assert kept.getvalue() == b"\\u7f8e\xe9\n"


def test_letters_that_a_lost_stream_cannot_hold_are_lost_too() -> None:
    with open("/dev/full", "w", encoding="latin-1", buffering=1) as full:
        stream = Lasting(full)
        stream.write("\u7f8e\n")
        assert isinstance(stream.lost, OSError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "a\0b"],
        ["train", "quickstart", "--out", "a\0b"],
        ["data", "import", "--interactions", "log.csv", "--out", "a\0b"],
        ["fit", "a\0b", "--model", "latent"],
    ],
)
def test_a_nul_in_a_path_is_no_bug(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "'a\\x00b' holds a NUL character, which no name and no path has; leave it out" in capsys.readouterr().err


def test_an_empty_folder_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "quickstart", "--out", ""]) == 2
    assert "--out needs a folder" in capsys.readouterr().err

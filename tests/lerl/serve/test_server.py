"""The server's answers: right ones, refusals in one line each, and nothing lost when a process dies."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install 'lerl-rec[serve]' has it")

import httpx
from fastapi.testclient import TestClient

import lerl
from lerl.cli.main import main
from lerl.serve.served import Served
from lerl.serve.server import make_app

SMALL: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "evaluation": {"users": 10, "bootstrap": 200, "replicates": 1},
    "train": {"steps": 0},
    "planner": {"clusters": 5, "size": 2, "sessions": 0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    agents = ["boredom+greedy", "random", "privileged"]
    return lerl.train("quickstart", tmp_path_factory.mktemp("server") / "run", agents=agents, **SMALL)


@pytest.fixture
def client(run: lerl.Run) -> Iterator[TestClient]:
    with TestClient(make_app(lambda: run.recommender("boredom+greedy"), token="")) as client:
        yield client


def test_a_session_from_its_start_to_its_end(client: TestClient) -> None:
    begun = client.post("/sessions", json={"history": [["3", True], ["gone", False]]})
    assert begun.status_code == 201
    assert begun.json()["unknown"] == ["gone"]
    path = f"/sessions/{begun.json()['session']}"
    slate = client.post(f"{path}/recommend").json()
    assert len(slate["ids"]) == len(slate["scores"]) == 3
    assert slate["plan"]
    assert slate["step"] == 0
    told = {"ids": slate["ids"], "clicks": [1, 0, 0.5], "step": 0}
    for counted_before in (False, True):
        answer = client.post(f"{path}/feedback", json=told)
        assert answer.status_code == 200
        assert answer.json() == {"step": 1, "counted_before": counted_before}
    assert re.search(r"^lerl_shown_total 3\.0$", client.get("/metrics").text, re.MULTILINE)
    again = client.post(f"{path}/recommend", json={"k": 2, "exclude": ["3", "sold out"]}).json()
    assert again["step"] == 1
    assert again["unknown"] == ["sold out"]
    assert client.delete(path).status_code == 204
    assert client.post(f"{path}/recommend").status_code == 404


def test_a_session_of_nobody_known_needs_no_body(client: TestClient) -> None:
    slates = []
    for how in ({}, {"json": {}}):
        begun = client.post("/sessions", **how)
        assert begun.status_code == 201
        slates.append(client.post(f"/sessions/{begun.json()['session']}/recommend").json()["ids"])
    assert slates[0] == slates[1]


def test_health_and_metrics(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "agent": "boredom+greedy", "lerl": lerl.__version__}
    key = client.post("/sessions", json={}).json()["session"]
    ids = client.post(f"/sessions/{key}/recommend").json()["ids"]
    client.post(f"/sessions/{key}/feedback", json={"ids": ids, "clicks": [1, 1, 0]})
    page = client.get("/metrics").text
    assert re.search(r"^lerl_feedback_total 2\.0$", page, re.MULTILINE)
    assert 'path="/sessions/{session}/recommend",status="200"' in page
    assert key not in page
    assert set(client.get("/openapi.json").json()["paths"]) >= {"/sessions", "/sessions/{session}/feedback"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/sessions", {"user": "nobody"}, 422, "the log has no user 'nobody'"),
        ("/sessions", {"session": "a/b"}, 422, "String should match pattern"),
        ("/sessions/a/feedback", {"ids": ["1"], "clicks": [1], "step": 4}, 422, "step 4, which is still to come"),
        ("/sessions/a/feedback", None, 422, "the body must be a JSON object"),
        ("/sessions", [1], 422, "the body must be a JSON object"),
        ("/sessions", {"usr": "1"}, 422, "Extra inputs are not permitted"),
        ("/sessions", {"history": [["1"]]}, 422, "history[0][1]: Field required"),
        ("/sessions/none/recommend", None, 404, "there is no session 'none'"),
        ("/sessions/a/recommend", {"k": 9}, 422, "k must be from 1 to 3"),
        ("/sessions/a/feedback", {"ids": ["x"], "clicks": [1]}, 422, "the catalog has no item 'x'"),
        ("/sessions/a/feedback", {"ids": ["1"], "clicks": [2]}, 422, "less than or equal to 1"),
        ("/sessions", {"history": [["1", True]] * 10_001}, 422, "at most 10000 items"),
        ("/sessions", {"user": "1" * 1_000_000}, 413, "at most 1,000,000 bytes"),
    ],
)
def test_wrong_requests_are_refused(client: TestClient, path: str, body: Any, status: int, said: str) -> None:
    client.post("/sessions", json={"session": "a"})
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_items_are_added(client: TestClient) -> None:
    names = {"items": {"fresh": ["category 1", "category 2"], "other": [0.1, 0.2, 0.3, 0.4]}}
    for _ in range(2):  # as a script that sends all items every night
        assert client.post("/items", json=names).status_code == 204
    answer = client.post("/items", json={"items": {"fresh": ["category 3"]}})
    assert answer.status_code == 422
    assert "is in the catalog already, with other categories" in answer.json()["detail"]
    key = client.post("/sessions", json={"history": [["fresh", True]]}).json()["session"]
    assert client.post(f"/sessions/{key}/feedback", json={"ids": ["fresh"], "clicks": [1]}).status_code == 200


def test_a_body_of_unknown_length_is_refused(client: TestClient) -> None:
    assert client.post("/sessions", content=iter([b"{}"])).status_code == 413


def test_a_token_is_needed_where_there_is_one(run: lerl.Run) -> None:
    with TestClient(make_app(lambda: run.recommender("random"), token="secret")) as client:
        assert client.post("/sessions", json={}).status_code == 401
        assert client.post("/sessions", json={}, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.post("/sessions", json={}, headers={"Authorization": "Bearer secret"}).status_code == 201
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "set LERL_SERVE_TOKEN in the environment first"),
        (["--agent", "privileged"], "privileged cannot serve people: it reads the hidden state"),
        (["--agent", "flat+ppo"], "has no agent 'flat+ppo'; there are boredom+greedy, random, privileged"),
        (["--store", "redis://127.0.0.1:1"], "Redis does not answer"),
        (["--planner-timeout", "0"], "--planner-timeout must be from 0.01 to 600"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    run: lerl.Run, words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LERL_SERVE_TOKEN", raising=False)
    assert main(["serve", str(run.path), *words]) == 2
    assert said in capsys.readouterr().err


def wait_for(url: str, seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            assert httpx.get(f"{url}/healthz").status_code == 200
            return
        except httpx.HTTPError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.1)


@pytest.mark.slow
def test_nothing_is_lost_when_a_worker_is_killed(run: lerl.Run, tmp_path: Path, free_port: int) -> None:
    url, log = f"http://127.0.0.1:{free_port}", tmp_path / "log"
    command = [sys.executable, "-m", "lerl", "serve", str(run.path), "--port", str(free_port), "--workers", "2"]
    command += ["--store", str(tmp_path / "sessions.db")]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            wait_for(url)
            assert "serving boredom+greedy" in log.read_text()
            keys = [httpx.post(f"{url}/sessions", json={}).json()["session"] for _ in range(5)]
            shown = {key: httpx.post(f"{url}/sessions/{key}/recommend").json()["ids"] for key in keys}
            for key, ids in shown.items():
                httpx.post(f"{url}/sessions/{key}/feedback", json={"ids": ids, "clicks": [1, 0, 0]}).raise_for_status()
            for worker in children(server.pid):
                os.kill(worker, signal.SIGKILL)
            time.sleep(0.5)
            wait_for(url)
            for key, ids in shown.items():
                slate = httpx.post(f"{url}/sessions/{key}/recommend", timeout=30).json()
                assert slate["step"] == 1
                assert not set(slate["ids"]) & set(ids)
        finally:
            server.terminate()


def children(process: int) -> list[int]:
    """Worker processes of a server, as the system lists them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = path.read_text().rpartition(")")[2].split()
        command = (path.parent / "cmdline").read_bytes()
        if int(fields[1]) == process and b"spawn_main" in command:
            found.append(int(path.parent.name))
    assert found
    return found


@pytest.mark.filterwarnings("ignore:openai.m. timeout:UserWarning")
def test_a_dead_chat_model_makes_no_request_late(chat_run: Path, chat: Any) -> None:
    """The rule plans in its place, and other sessions do not wait."""
    before = {path: path.stat().st_mtime_ns for path in chat_run.rglob("*")}
    served = Served(str(chat_run), "llm+greedy", str(chat_run.with_name("sessions.db")), timeout=0.5)
    with TestClient(served.application()) as client:
        key = client.post("/sessions", json={}).json()["session"]
        assert client.post(f"/sessions/{key}/recommend").json()["rationale"]
        chat.fault = lambda handler, number: time.sleep(3) or True
        keys = [client.post("/sessions", json={"session": name}).json()["session"] for name in "abc"]  # planned at once
        begun = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            slates = list(pool.map(lambda key: client.post(f"/sessions/{key}/recommend").json(), keys))
        assert time.monotonic() - begun < 2.5
        assert all(len(slate["ids"]) == 3 and slate["plan"] for slate in slates)
    assert before == {path: path.stat().st_mtime_ns for path in chat_run.rglob("*")}

"""Run folders with made-up sessions, realistic enough to summarise and to look at."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from lerl.agents.config import TrainConfig
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.planners.config import PlannerConfig
from tests.planners.llm.chat_server import ChatServer, expert

CAP = 60
CATEGORIES = [
    "Drama", "Comedy", "Thriller", "Action", "Romance", "Adventure", "Crime", "Sci-Fi", "Horror", "Fantasy", "Children",
    "Animation", "Mystery", "Documentary", "War", "Musical", "Western", "Film-Noir",
]  # fmt: skip
QUALITY = {
    "privileged": 1.0, "boredom+ppo": 0.78, "llm+ppo": 0.74, "round_robin+ppo": 0.62, "boredom+greedy": 0.66,
    "llm+greedy": 0.6, "boredom+sac": 0.7, "bandit+ppo": 0.55, "distilled+ppo": 0.68, "flat+ppo": 0.5,
    "flat+ppo@det": 0.48, "flat+sac": 0.42, "greedy": 0.4, "popularity": 0.25, "round_robin": 0.2, "random": 0.05,
}  # fmt: skip

RunMaker = Callable[..., Path]


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let commands that a test starts hear of Ctrl-C, though these tests, or one before, run where it is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Chat:
    """A chat model on this machine whose answers a test may change.

    Attributes:
        answer, fault: as a `ChatServer` has them; the scripted expert's, and none, at the start of each test.
    """

    def __init__(self) -> None:
        self.answer: Any = expert
        self.fault: Any = None
        self.server = ChatServer(
            lambda messages: str(self.answer(messages)),
            lambda handler, number: self.fault is not None and bool(self.fault(handler, number)),
        )

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> int:
        return len(self.server.requests)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that signs runs is one of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def _chat() -> Iterator[Chat]:
    chat = Chat()
    with chat.server:
        yield chat


@pytest.fixture
def chat(_chat: Chat) -> Chat:
    """The chat model that `chat_run` was trained with; it answers as the scripted expert unless told otherwise."""
    _chat.answer, _chat.fault = expert, None
    return _chat


def chat_config(url: str | None, **planner: Any) -> Config:
    """A small recipe whose planner is a chat model."""
    settings = {"detail": "coarse", "sessions": 8, "reflections": 2} | planner
    return Config(
        seed=3,
        agents=["llm+greedy", "random"],
        data=DataConfig(synthetic=SyntheticConfig(users=40, items=80, categories=5, dim=4)),
        env=SimulatorConfig(slate_size=3, max_steps=15),
        planner=PlannerConfig("llm", size=2, model="openai:m", base_url=url, **settings),
        train=TrainConfig(
            steps=256, users=4, rollout=8, batch_size=32, epochs=1, hidden=8, evaluations=1, validation=4
        ),
        evaluation=EvaluationConfig(replicates=1, batch_size=8, bootstrap=100),
    )


@pytest.fixture(scope="session")
def _chat_run(_chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lerl.run.train import train

    run = tmp_path_factory.mktemp("chat") / "run"
    train(chat_config(_chat.url), run)
    return run


@pytest.fixture
def chat_run(_chat_run: Path, chat: Chat, tmp_path: Path) -> Path:
    """A copy of a run that the scripted expert planned."""
    return Path(shutil.copytree(_chat_run, tmp_path / "chat_run"))


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Writes a run folder under ``tmp_path``; see :func:`write_run`."""

    def make(seed: int = 0, name: str | None = None, **options: Any) -> Path:
        return write_run(tmp_path / (name or f"run-s{seed}"), seed=seed, **options)

    return make


def write_run(
    path: Path,
    seed: int = 0,
    agents: list[str] | None = None,
    users: int = 40,
    replicates: int = 2,
    n_items: int = 300,
    learning: bool = True,
    **settings: Any,
) -> Path:
    """Write the files of an evaluated run, in which better agents keep users for longer."""
    names = list(QUALITY) if agents is None else agents
    path.mkdir(parents=True)
    config = {"seed": seed, "agents": names, "env": {"slate_size": 5, "max_steps": CAP}} | settings
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "run.json").write_text(json.dumps({"n_items": n_items}))
    rng = np.random.default_rng(seed)
    patience = np.random.default_rng(7).gamma(6.0, 4.0, size=users)  # the same users whatever the seed
    episodes = pl.concat([_episodes(rng, agent, seed, patience, replicates) for agent in names])
    episodes.write_parquet(path / "episodes.parquet")
    _items(rng, episodes, n_items).write_parquet(path / "items.parquet")
    pl.concat([_steps(rng, agent, episodes) for agent in names]).write_parquet(path / "steps.parquet")
    pl.concat([_exposure(rng, agent, episodes) for agent in names]).write_parquet(path / "exposure.parquet")
    learners = [agent for agent in names if agent.endswith(("ppo", "sac"))] if learning else []
    curves = [_curve(rng, agent) for agent in learners]
    if curves:
        pl.concat(curves).write_parquet(path / "curves.parquet")
    return path


def _episodes(rng: np.random.Generator, agent: str, seed: int, patience: Any, replicates: int) -> pl.DataFrame:
    quality = QUALITY[agent] * (1.0 + 0.04 * rng.normal())
    user = np.repeat(np.arange(len(patience)), replicates)
    drawn = rng.gamma(3.0, patience[user] / 3.0 * (0.4 + 1.1 * quality)).astype(int)
    steps = np.clip(drawn + 1, 1, CAP)
    reward = steps * np.clip(rng.normal(0.25 + 0.35 * quality, 0.05, size=len(user)), 0.0, 1.0)
    return pl.DataFrame(
        {
            "seed": np.full(len(user), seed),
            "agent": [agent] * len(user),
            "user": user,
            "replicate": np.tile(np.arange(replicates), len(patience)),
            "T_int": steps,
            "R_cum": reward,
            "R_sin": reward / steps,
            "satisfaction_final": rng.beta(2 + 2 * quality, 4, size=len(user)),
            "satisfaction_mean": rng.beta(3 + 4 * quality, 3, size=len(user)),
            "left_early": drawn + 1 <= CAP,
            "cut_by_cap": drawn + 1 > CAP,
            "category_coverage": 1.0 - np.exp(-steps / (10.0 + 10.0 * quality)),
            "category_entropy": np.log2(1.0 + steps / 4.0),
            "intra_list_distance": rng.beta(8, 8 + 4 * quality, size=len(user)),
            "slate_overlap": np.where(steps > 1, rng.beta(3, 5, size=len(user)), np.nan),
            "empty_slots": rng.poisson(0.2, size=len(user)),
            "widened": rng.poisson(0.5, size=len(user)),
        }
    )


def _items(rng: np.random.Generator, episodes: pl.DataFrame, n_items: int) -> pl.DataFrame:
    frames = []
    for (agent,), sessions in episodes.group_by("agent", maintain_order=True):
        shown = sessions.group_by("user", maintain_order=True).agg(pl.col("T_int").sum() * 5)
        popularity = 1.0 / np.arange(1, n_items + 1) ** (0.2 + QUALITY[str(agent)])
        counts = rng.multinomial(shown["T_int"].to_numpy(), popularity / popularity.sum())  # (users, n_items)
        user, item = np.nonzero(counts)
        frame = {"user": shown["user"].to_numpy()[user], "item": item, "count": counts[user, item]}
        frames.append(pl.DataFrame({"agent": [agent] * len(item)} | frame))
    return pl.concat(frames)


def _steps(rng: np.random.Generator, agent: str, episodes: pl.DataFrame) -> pl.DataFrame:
    lengths = episodes.filter(pl.col("agent") == agent)["T_int"].to_numpy()
    step = np.arange(1, lengths.max() + 1)
    sessions = (lengths[None, :] >= step[:, None]).sum(axis=1)
    level = 0.35 + 0.35 * QUALITY[agent] - 0.2 * (1 - QUALITY[agent]) * (1 - np.exp(-step / 12))
    satisfaction = level + 0.15 * rng.normal(size=len(step)) / np.sqrt(sessions)
    return pl.DataFrame(
        {
            "agent": [agent] * len(step),
            "step": step,
            "sessions": sessions,
            "satisfaction": satisfaction,
            "satisfaction_sd": np.full(len(step), 0.15),
            "reward": satisfaction * 0.9,
        }
    )


def _exposure(rng: np.random.Generator, agent: str, episodes: pl.DataFrame) -> pl.DataFrame:
    steps = int(episodes.filter(pl.col("agent") == agent)["T_int"].max())  # type: ignore[arg-type]
    frames = []
    for axis, names in (("category", CATEGORIES), ("topic", [f"topic {i}" for i in range(12)])):
        logits = np.linspace(2.0, -1.5, len(names)) * (1.2 - QUALITY[agent]) + 0.6 * rng.normal(size=len(names))
        wave = 0.5 * np.sin(np.arange(steps)[:, None] / 6 + rng.uniform(0, 6, size=len(names)))
        shares = np.exp(logits + wave + 0.08 * rng.normal(size=wave.shape))
        shares /= shares.sum(axis=1, keepdims=True)
        frames.append(
            pl.DataFrame(
                {
                    "agent": [agent] * shares.size,
                    "axis": [axis] * shares.size,
                    "name": names * steps,
                    "step": np.repeat(np.arange(1, steps + 1), len(names)),
                    "share": shares.ravel(),
                }
            )
        )
    return pl.concat(frames)


def _curve(rng: np.random.Generator, agent: str) -> pl.DataFrame:
    steps = np.arange(0, 200_001, 10_000)
    best = 20.0 * QUALITY[agent] * (1 + 0.04 * rng.normal())
    reward = 4.0 + best * (1 - np.exp(-steps / (30_000 + 20_000 * rng.uniform()))) + 0.4 * rng.normal(size=len(steps))
    return pl.DataFrame(
        {
            "agent": [agent] * len(steps),
            "steps": steps,
            "T_int": 1.5 * reward,
            "R_cum": reward,
            "R_sin": reward / (1.5 * reward),
            "sessions": np.full(len(steps), 100),
        }
    )

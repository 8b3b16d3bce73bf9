"""Two pictures of what a run learned: its topics beside the users' hidden ones, and a belief that closes in on a taste.

Run it:  python examples/what_was_learned.py [RUN]  (a run folder that has belief+greedy; else it makes a small one)
Agents never see what the pictures compare with: the true topics, tastes and items of simulated users.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from gymnasium.vector import AutoresetMode

from lerl.agents.belief.agent import BeliefAgent
from lerl.cli.main import main
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator
from lerl.run.artifacts import ArtifactStore
from lerl.run.task import Task
from lerl.run.trust import read_config

matplotlib.use("Agg")
from matplotlib import pyplot

LINES = {"what history says": "0.6", "what is believed": "#0072B2", "what the belief expects": "k--"}
USERS, SLATES = 256, 30


def small_run(folder: Path) -> Path:
    """A run of the demo in which the belief learns from a few thousand steps."""
    few = ["--train.steps", "6000", "--evaluation.users", "20", "--evaluation.replicates", "1"]
    code = main(["train", "quickstart", "--agents", "[belief+greedy,random]", "--out", str(folder / "run"), *few])
    if code:
        sys.exit(code)
    return folder / "run"


def topics_side_by_side(simulator, model, popularity, path: Path) -> float:
    """A picture of where the items of each hidden topic lie among the learned ones; the share in the best of these."""
    hidden = np.zeros((len(simulator.topics), simulator.topic_count))  # (I, K), 1 where an item has a topic
    for column in simulator.topics.T:
        hidden[np.flatnonzero(column >= 0), column[column >= 0]] = 1
    hidden *= popularity[:, None]  # of items that few click, little can be learned, and little depends on them
    shares = hidden.T @ model.suffers  # (K, learned topics)
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    order = sorted(range(shares.shape[1]), key=lambda t: (shares[:, t].argmax(), -shares[:, t].max()))
    figure, axes = pyplot.subplots(figsize=(5.2, 3.2), layout="constrained")
    image = axes.imshow(shares[:, order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="topics learned from clicks", ylabel="hidden topics", xticks=[], yticks=[])
    figure.colorbar(image, label="share of a hidden topic's clicks")
    figure.savefig(path, dpi=150)
    return float(np.average(shares.max(axis=1), weights=hidden.sum(axis=0)))


def belief_closing_in(task: Task, model, path: Path) -> tuple[float, float]:
    """A picture of how far off log-odds of clicks are, slate after slate; the last, by history and by belief."""
    users = SessionVectorEnv(
        task.population, USERS, split="evaluation", config=task.config.env, axis=task.axis,
        autoreset_mode=AutoresetMode.DISABLED, leave="never", max_steps=SLATES,
    )  # fmt: skip
    truth, items = task.population.truth, np.random.default_rng(0).choice(len(model.offsets), 300)
    rows = np.column_stack([model.vectors[items], np.ones(len(items))])  # (n, d + 1)
    right = np.column_stack([truth.item_vectors[items], np.ones(len(items))])
    agent = BeliefAgent(replace(task.task_spec("belief"), max_steps=SLATES), USERS, model)
    observation, _ = users.reset(seed=0)
    agent.begin(np.arange(USERS), observation, np.arange(USERS, dtype=np.uint64))
    off = np.empty((3, SLATES))  # by history, by the belief, and as the belief expects it to be
    for slate in range(SLATES):
        slates, belief = agent.act(observation), agent.belief
        wanted = np.column_stack([users.state.response[name] for name in ("taste", "offset")]) @ right.T
        for which, taste in enumerate((belief.home, belief.mean)):
            wrong = taste @ rows.T - wanted  # (B, n); what is wrong about an item for everybody is no part of it
            off[which, slate] = (wrong - wrong.mean(axis=0)).std()
        off[2, slate] = np.sqrt(np.einsum("na,bac,nc->bn", rows, belief.cov, rows).mean())
        observation, *_ = users.step(slates)
    figure, axes = pyplot.subplots(figsize=(5.2, 3.2), layout="constrained")
    for line, (name, look) in zip(off, LINES.items(), strict=True):
        axes.plot(np.arange(SLATES), line, look, label=name)
    axes.set(xlabel="slates shown", ylabel="RMSE of log-odds, by person", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return float(off[0, -1]), float(off[1, -1])


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="lerl-learned-"))
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else small_run(folder)
    task = Task.load(read_config(run, trust=False))
    known = task.population.knowledge.item_vectors
    model = ArtifactStore(run).load_belief(len(known), known.shape[1] - 1)
    found = topics_side_by_side(
        UserSimulator(task.population, task.config.env),
        model,
        task.population.knowledge.popularity,
        folder / "topics.png",
    )
    print(f"{found:.0%} of a hidden topic's clicks are in one learned topic, on average")
    history, believed = belief_closing_in(task, model, folder / "belief.png")
    print(f"error of log-odds after {SLATES} slates: {believed:.2f} believed, {history:.2f} by history")
    print("pictures are in", folder)

"""Thirty days of the same people under two recommenders: how often they come back, how satisfied they are, who is lost.

Run it:  python examples/lives.py [FOLDER]  (where the picture goes; else to a temporary folder)
"""

import sys
import tempfile
from pathlib import Path

import gymnasium
import matplotlib
import numpy as np
from gymnasium.vector import AutoresetMode

import lerl  # noqa: F401 - registers the environments

matplotlib.use("Agg")
from matplotlib import pyplot

PEOPLE, DAYS, SLATE, SHOWN = 256, 30, 6, 8


def by_taste(env, first):
    """The items that each known taste ranks next, from the best on in each session."""
    items = env.simulator.population.knowledge.item_vectors
    order = np.argsort(-first["taste"] @ items.T, axis=1)  # (B, I)

    def choose(observation):
        step = np.rint((1 - observation["time_left"][:, 0]) * env.simulator.config.max_steps).astype(int)
        return np.take_along_axis(order, step[:, None] * SLATE + np.arange(SLATE), axis=1)

    return choose


def random(env, first):
    """Any items."""
    draw, items = np.random.default_rng(0), env.single_action_space.nvec[0]
    return lambda observation: draw.integers(items, size=(env.num_envs, SLATE))


def live(recommender):
    """Each session that ended, as (person, day, satisfaction at its end); and the day each person was lost, or inf."""
    env = gymnasium.make_vec(
        "lerl/Synthetic-v0", num_envs=PEOPLE, slate_size=SLATE, horizon="days", days=DAYS, reveal_hidden=True,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    observation, info = env.reset(seed=0)
    choose, sessions, lost = recommender(env, observation), [], np.full(PEOPLE, np.inf)
    alive, day = np.ones(PEOPLE, bool), info["day"]
    while alive.any():
        observation, _, terminated, truncated, info = env.step(choose(observation))
        ended = np.flatnonzero(info["session_ended"] & alive)
        sessions += zip(ended, day[ended], info["last_satisfaction"][ended], strict=True)
        lost[terminated & alive] = day[terminated & alive]
        alive &= ~(terminated | truncated)
        day = info["day"]
        if not alive.all():  # who is done begins another life, which is not looked at
            observation, _ = env.reset(options={"reset_mask": terminated | truncated})
            day = np.where(terminated | truncated, 0.0, day)
    return np.array(sessions), lost


def draw_lives(found, path):
    """Some people's sessions by day under the first recommender, and the share of people not yet lost under each."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.6, 2.8), layout="constrained")
    (sessions, _), *_ = found.values()
    some = sessions[sessions[:, 0] < SHOWN]
    image = left.scatter(some[:, 1], some[:, 0] + 1, c=some[:, 2], s=14, cmap="viridis", vmin=0, vmax=1)
    left.set(xlabel="day", ylabel="person", xlim=(-0.5, DAYS), yticks=range(1, SHOWN + 1))
    figure.colorbar(image, label="satisfaction at a session's end")
    days = np.linspace(0, DAYS, 301)
    for name, (_, lost) in found.items():
        right.step(days, (lost > days[:, None]).mean(axis=1), where="post", label=name)
    right.set(xlabel="day", ylabel="share of people not lost", xlim=(0, DAYS), ylim=(0, 1))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="lerl-lives-"))
    found = {"by known taste": live(by_taste), "random": live(random)}
    for name, (sessions, lost) in found.items():
        active = len(np.unique(sessions[:, :2].astype(int), axis=0)) / PEOPLE  # (person, whole day)
        print(
            f"{name:15}  sessions {len(sessions) / PEOPLE:5.1f}   active days {active:5.1f}   satisfaction at the end "
            f"{sessions[:, 2].mean():.2f}   lost within {DAYS} days {np.isfinite(lost).mean():.0%}"
        )
    draw_lives(found, folder / "lives.png")
    print("the picture is in", folder)

"""Sessions as text and as pictures."""

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import lerl  # noqa: F401 - registers the environments
from lerl.envs import render
from lerl.envs.catalog import Axis, Catalog
from lerl.envs.config import Boredom, Drift, Fatigue, Leave, Mood, Satisfaction
from lerl.envs.population import Population
from lerl.envs.session import SessionEnv, SessionVectorEnv

SIZES = {"users": 40, "items": 60, "categories": 6, "dim": 4}
STILL: dict[str, Any] = {
    "topics": "categories",
    "drift": Drift(enabled=False),
    "boredom": Boredom(enabled=False),
    "fatigue": Fatigue(enabled=False),
    "mood": Mood(enabled=False),
    "satisfaction": Satisfaction(enabled=False, initial=0.25),
    "leave": Leave("never"),
}
TITLES = ("Alien (1979)", "\x1b[31mRed\x1b[0m\nBar", "千と千尋の神隠し", "x" * 200)


@pytest.fixture(scope="module")
def films(build: Any) -> Population:
    """Item 0 is never clicked, items 1 to 3 always are; item 1 has both categories."""
    population: Population = build([[-1], [1], [1], [1]], [[50]], categories=[[1, 0], [1, 1], [0, 1], [0, 1]])
    axis = Axis(("Horror", "Co\x07medy"), population.catalog.categories.membership)
    return replace(population, catalog=Catalog(population.catalog.item_ids, TITLES, axis))


def test_text_tells_the_slate_and_what_the_user_did(films: Population):
    """Two clicks over three slots; then an item that was shown before, which leaves its slot empty."""
    env = SessionEnv(films, slate_size=3, max_steps=2, render_mode="ansi", reveal_hidden=True, **STILL)
    env.reset(seed=0)
    assert env.render() == "session 0, step 0 of 2\nuser 0, satisfaction 0.25\n"
    env.step([1, 0, 2])
    assert env.render() == (
        "session 0, step 1 of 2\n"
        "user 0, satisfaction 0.25\n"
        "  1  clicked  [31mRed [0m Bar (Horror, Co medy)\n"
        "  2  skipped  Alien (1979) (Horror)\n"
        "  3  clicked  千と千尋の神隠し (Co medy)\n"
        "reward 0.67, so far 0.67\n"
    )
    env.plan = "Comedy,\nno \x1b[2JHorror"
    env.step([1, 3, 0])
    assert env.render() == (
        "session 0, step 2 of 2, the session has ended\n"
        "user 0, satisfaction 0.25\n"
        "plan: Comedy, no [2JHorror\n"
        "  1  empty\n"
        f"  2  clicked  {'x' * 79}… (Co medy)\n"
        "  3  empty\n"
        "reward 0.33, so far 1.00\n"
    )


def test_what_is_hidden_stays_hidden(films: Population):
    env = SessionEnv(films, render_mode="ansi", **STILL)
    env.reset(seed=0)
    env.step(1)
    assert "satisfaction" not in str(env.render())
    assert "user" not in str(env.render())


@pytest.mark.parametrize(("feedback", "said"), [("click", "skipped "), ("rating", "1 of 5  ")])
def test_feedback_is_told_in_its_own_words(films: Population, feedback: str, said: str):
    """With log-odds of -50 nobody clicks, and every rating is one star."""
    env = SessionEnv(films, render_mode="ansi", feedback=feedback, **STILL)
    env.reset(seed=0)
    env.step(0)
    assert f"\n  1  {said} Alien (1979) (Horror)\n" in str(env.render())


def test_a_vector_renders_what_each_of_its_users_would(films: Population):
    many = SessionVectorEnv(films, 2, slate_size=2, render_mode="ansi", **STILL)
    one = SessionEnv(films, slate_size=2, render_mode="ansi", **STILL)
    many.reset(seed=3)
    many.step([[0, 1], [2, 3]])
    many.plans = ["Horror", None]
    one.reset(seed=4)
    one.step([2, 3])
    texts = many.render()
    assert texts is not None
    assert texts[1] == one.render()
    assert "plan: Horror\n" in str(texts[0])
    many.plans = ["Horror"]
    with pytest.raises(ValueError, match="plans must hold one for each of the 2 slots, given 1"):
        many.render()


def test_frames_have_one_size_and_show_what_changed(films: Population):
    env = SessionEnv(films, slate_size=3, render_mode="rgb_array", **STILL)
    env.reset(seed=0)
    first = env.render()
    env.step([1, 0, 2])
    second = env.render()
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert first.shape == second.shape == (render.HEIGHT, render.WIDTH, 3)
    assert first.dtype == second.dtype == np.uint8
    assert (first != second).any()
    kept = second.copy()
    second[:] = 0  # the caller's own
    np.testing.assert_array_equal(env.render(), kept)


def test_a_slate_too_long_for_a_frame_says_how_much_is_left_out():
    """384 pixels hold 16 lines: one above, one below, 13 slots and how many more there are."""
    slots = tuple((f"item {number}", 0.0) for number in range(20))
    whole = render.frame(render.Scene(("head",), (*slots[:13], ("     and 7 more", -1.0)), ("foot",)))
    np.testing.assert_array_equal(render.frame(render.Scene(("head",), slots, ("foot",))), whole)


def test_a_frame_is_drawn_once_a_step(films: Population, monkeypatch: pytest.MonkeyPatch):
    env = SessionEnv(films, render_mode="rgb_array", **STILL)
    env.reset(seed=0)
    for item in range(3):
        env.step(item)
        before = render.frame.cache_info().misses
        env.render()
        env.render()
        assert render.frame.cache_info().misses == before + 1


@pytest.mark.parametrize("made", ["make", "make_vec"])
def test_without_a_mode_there_is_nothing_to_render_and_a_warning(made: str):
    env = getattr(gymnasium, made)("lerl/Synthetic-v0", **SIZES)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode is None; choose one .* gymnasium.make.'lerl/Synthetic-v0', rend"):
        assert env.render() is None


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_gymnasium_collects_what_was_rendered(mode: str):
    env = gymnasium.make("lerl/Synthetic-v0", render_mode=f"{mode}_list", leave="never", **SIZES)
    env.reset(seed=0)
    env.step(1)
    frames = env.render()
    assert len(frames) == 2
    assert isinstance(frames[0], str if mode == "ansi" else np.ndarray)


def test_a_window_is_gymnasiums(films: Population):
    """Gymnasium asks for frames and shows them, where pygame is installed."""
    with pytest.warns(UserWarning, match="The HumanRendering wrapper is being applied"):
        env = gymnasium.make("lerl/Synthetic-v0", render_mode="human", **SIZES)
    assert env.unwrapped.render_mode == "rgb_array"


def test_videos_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a session of three steps: four frames, two a second. The encoder is no part of this."""
    written: list[Any] = []

    class Clip:
        def __init__(self, frames: list[Any], fps: int) -> None:
            written.append((len(frames), frames[0].shape, fps))

        def write_videofile(self, path: str, logger: Any = None) -> None:
            written.append(Path(path).name)

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = Clip  # type: ignore[attr-defined]
    made = gymnasium.make("lerl/Synthetic-v0", render_mode="rgb_array", max_steps=3, leave="never", **SIZES)
    env = RecordVideo(made, str(tmp_path / "videos"))
    env.reset(seed=0)
    for item in range(3):
        env.step(item)
    env.close()
    assert written == [(4, (render.HEIGHT, render.WIDTH, 3), 2), "rl-video-episode-0.mp4"]


def test_stable_baselines_makes_and_tiles_environments():
    env = make_vec_env("lerl/Synthetic-v0", n_envs=2, env_kwargs=SIZES)
    env.reset()
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape == (2 * render.HEIGHT, render.WIDTH, 3)
    assert PPO("MultiInputPolicy", "lerl/Synthetic-v0", device="cpu").n_envs == 1

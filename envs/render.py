"""One user's session for people to look at: as text, and as a picture of that text."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.kernels import CLICK_FROM
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State
from lerl.envs.text import plain

MODES = ("ansi", "rgb_array")
FPS = 2
"""Slates a second in a video: slow enough to read titles."""

HEIGHT, WIDTH = 384, 640  # multiples of 16, as video codecs want
LINE = 22  # pixels
LONGEST_NAME = 80
"""Characters of a title, of a category's name and of a plan."""

INK, CLICKED, PALE, PAPER = (32, 32, 32), (0, 114, 60), (140, 140, 140), (255, 255, 255)


@dataclass(frozen=True)
class Scene:
    """What there is to see after a step.

    Attributes:
        head: lines above the slate.
        slots: one line for each slot of the slate, from top to bottom, with its feedback in [0, 1], -1 if it is empty.
        foot: lines below.
    """

    head: tuple[str, ...]
    slots: tuple[tuple[str, float], ...]
    foot: tuple[str, ...]


def check_render_mode(mode: Any) -> None:
    """Refuse a render mode that these environments do not have."""
    if mode is not None and not (isinstance(mode, str) and mode in MODES):
        window = "; gymnasium.make opens a window for 'human'" if mode == "human" else ""
        raise ValueError(f"render_mode must be None, 'ansi' or 'rgb_array', given {mode!r}{window}")


def draw(mode: str, scene: Scene) -> str | NDArray[np.uint8]:
    """A scene in a render mode: text whose lines end in newlines, or a frame (HEIGHT, WIDTH, 3) uint8."""
    if mode == "ansi":
        return "".join(f"{line}\n" for line in (*scene.head, *(text for text, _ in scene.slots), *scene.foot))
    return frame(scene).copy()


def scene_of(simulator: UserSimulator, state: State, row: int, reveal_hidden: bool, plan: object = None) -> Scene:
    """What there is to see of one row of a state: the newest slate, and the user's hidden state where it is revealed.

    Args:
        plan: what a planner chose for the session, whose text is shown; the environment itself knows of none.
    """
    steps, k = int(state.steps[row]), simulator.config.slate_size
    over = "" if state.active[row] else ", the session has ended"
    head = [f"session {state.session[row]}, step {steps} of {simulator.config.max_steps}{over}"]
    if reveal_hidden:
        head.append(f"user {state.user[row]}, satisfaction {state.satisfaction[row]:.2f}")
    if plan is not None:
        head.append(f"plan: {plain(str(plan), LONGEST_NAME)}")
    felt = np.maximum(state.feedback[row, : steps * k], 0)
    foot = [f"reward {felt[-k:].mean():.2f}, so far {felt.sum() / k:.2f}"] if steps else []
    newest = slice((steps - 1) * k, steps * k) if steps else slice(0, 0)
    slate = zip(state.shown[row, newest].tolist(), state.feedback[row, newest].tolist(), strict=True)
    slots = [(_slot(simulator, number, *shown), shown[1]) for number, shown in enumerate(slate, 1)]
    return Scene(tuple(head), tuple(slots), tuple(foot))


def _slot(simulator: UserSimulator, number: int, item: int, feedback: float) -> str:
    if item < 0:
        return f"{number:3}  empty"
    names = simulator.axis.names
    groups = ", ".join(plain(names[group], LONGEST_NAME) for group in simulator.groups[item].tolist() if group >= 0)
    title = plain(simulator.population.catalog.titles[item], LONGEST_NAME)
    return f"{number:3}  {_reaction(simulator, feedback):8} {title} ({groups})"


def _reaction(simulator: UserSimulator, feedback: float) -> str:
    kind = simulator.config.feedback
    if kind == "click":
        return "clicked" if feedback else "skipped"
    if kind == "rating":
        return f"{1 + round(4 * feedback)} of 5"
    return f"{feedback:.2f}"


@lru_cache(maxsize=1)
def frame(scene: Scene) -> NDArray[np.uint8]:
    """A picture of a scene, (HEIGHT, WIDTH, 3) uint8, read-only; as many slots as there is room for."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen, font = ImageDraw.Draw(image), _font()
    room = (HEIGHT - 16) // LINE - len(scene.head) - len(scene.foot)
    slots = [(text, CLICKED if felt >= CLICK_FROM else INK if felt >= 0 else PALE) for text, felt in scene.slots]
    if len(slots) > room:
        slots[room - 1 :] = [(f"     and {len(slots) - room + 1} more", PALE)]
    lines = [*((text, INK) for text in scene.head), *slots, *((text, INK) for text in scene.foot)]
    for row, (text, colour) in enumerate(lines):
        pen.text((12, 8 + row * LINE), text, fill=colour, font=font)
    drawn = np.asarray(image).copy()
    drawn.setflags(write=False)
    return drawn


@lru_cache(maxsize=1)
def _font() -> Any:
    """The font that comes with Matplotlib: the same on every machine, with Greek, Cyrillic and more in it."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return ImageFont.truetype(str(path), 13, layout_engine=ImageFont.Layout.BASIC)

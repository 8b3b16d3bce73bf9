"""Hands what a run measures to the experiment tracker that a team already uses, which never decides how a run ends."""

import hmac
import json
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from lerl.config.keys import known_keys
from lerl.config.schema import Config
from lerl.envs.files import refuse_endless, write_whole
from lerl.envs.plugins import PluginError, blamed, load_plugin
from lerl.envs.text import plain
from lerl.planners.base import with_defaults
from lerl.report.bootstrap import Summary
from lerl.report.tables import METRICS
from lerl.run.artifacts import Point
from lerl.run.trust import seal
from lerl.startup import MissingExtraError, install_hint

TRACKERS = {"mlflow": "MLflowTracker", "wandb": "WandbTracker", "tensorboard": "TensorBoardTracker"}
"""Trackers by name, and their classes in `lerl.run.trackers`."""
METHODS = ("begin", "curve", "end", "broken_off")
KEPT = "tracked.json"
"""The file in a run's folder that holds the ids of its tracked runs, by tracker."""
UNREAD = ("tune.", "experiment.")
"""Settings that a run does not read."""


class Tracker:
    """Takes in what a run measures; every method does nothing by default.

    A class of one's own is named as `lerl train RECIPE --track my_module:MyTracker`, and made without arguments. It
    needs none of these methods. Where one of them raises, there is one warning, and the run goes on without it.

    Attributes:
        id: of the tracked run in the tool, for `begin` to set; None where the tool has none. It is kept in the run's
            folder. When the run is resumed it is there before `begin`, which goes on in that tracked run, or sets
            another id where it cannot.

    Example, in a file lines.py:

        class Lines(Tracker):
            '''Prints learning curves.'''

            def curve(self, agent, step, values):
                print(f"{agent} after {step:,} user-steps: R_cum {values['R_cum']:.2f}")

    lerl train quickstart --track lines:Lines
    """

    id: str | None = None

    def begin(self, config: Mapping[str, Any], folder: Path) -> None:
        """A run begins, or goes on.

        Args:
            config: its whole configuration by dotted key, such as {"train.steps": 200000}; values are text, numbers,
                booleans, None, and lists of these. folder: the run's.
        """

    def curve(self, agent: str, step: int, values: Mapping[str, float]) -> None:
        """An agent was validated on training users while it learns.

        Args:
            agent: its name in learning curves. step: user-steps that it has learned from, lessons of its planner
                included. values: means over sessions, by name: T_int in steps, R_cum in rewards, R_sin in rewards a
                step.
        """

    def end(self, summary: Summary, files: Sequence[Path]) -> None:
        """The run has ended, and is judged.

        Args:
            summary: what summary.json holds; `table_values` has the numbers of the table by name. files: config.yaml,
                summary.json, summary.md, report.html and pictures, those that are there, all inside the run's folder.
        """

    def broken_off(self) -> None:
        """The run was interrupted, or failed. It may be resumed."""


def metric_name(*parts: str) -> str:
    """A metric's name from its parts, in characters that all trackers take: flat+ppo is flat_ppo."""
    return "/".join(re.sub(r"[^\w.-]", "_", part, flags=re.ASCII) for part in parts)


def table_values(summary: Summary) -> dict[str, float]:
    """The numbers of a run's table by name: table/AGENT/METRIC, and METRIC_low and METRIC_high, the ends of its 95 %
    interval; what is not defined is left out."""
    found = {}
    for agent, metrics in summary["agents"].items():
        for name in METRICS:
            interval = metrics.get(name, {"mean": None, "low": None, "high": None})
            for end, value in (("", interval["mean"]), ("_low", interval["low"]), ("_high", interval["high"])):
                if value is not None:
                    found[metric_name("table", agent, f"{name}{end}")] = value
    return found


def parameters(config: Config) -> dict[str, Any]:
    """What a run was told, by dotted key; see `Tracker.begin`."""
    keys = known_keys(config)
    return {name: key.default for name, key in keys.items() if not key.nested and not name.startswith(UNREAD)}


def artefacts(run: Path) -> list[Path]:
    """The files of a run that a tracker keeps, those that are there."""
    named = [run / name for name in ("config.yaml", "summary.json", "summary.md", "report.html")]
    return [path for path in (*named, *sorted(run.glob("plots/*.png"))) if path.is_file()]


class Tracked:
    """A tracker beside a run: what it raises is one warning, and it is not called again.

    As a context manager it tells the tracker where the run breaks off.

    Args:
        tracker: one that does nothing where nothing is tracked. name: what the user called it, empty for nothing.
    """

    def __init__(self, tracker: Tracker | None = None, name: str = "") -> None:
        self.name = name
        self._tracker = tracker
        self._begun = self._goes_on = False
        self._sent: set[tuple[str, int]] = set()

    def __enter__(self) -> "Tracked":
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun:
            self._call("broken_off")

    def begin(self, config: Config, folder: Path) -> None:
        """The run in a folder begins, or goes on: in the tracked run whose id is kept there, where the tool can."""
        if self._tracker is None:
            return
        kept = _kept(folder, self.name)
        self._tracker.id = kept
        self._begun = True
        if not self._call("begin", parameters(config), folder):
            return
        made, self._goes_on = self._tracker.id, kept is not None and self._tracker.id == kept
        if kept is not None and not self._goes_on:
            said = f"{self.name} cannot go on in the tracked run {kept}; this is {made or 'a new one'}"
            print(f"lerl: note: {said}", file=sys.stderr)
        if made is not None and not self._goes_on:
            _keep(folder, self.name, str(made))

    def curve(self, point: Point) -> None:
        """A point of a learning curve, as it is measured."""
        agent, step = str(point["agent"]), int(point["steps"])
        self._sent.add((agent, step))
        self._call("curve", agent, step, {name: float(point[name]) for name in ("T_int", "R_cum", "R_sin")})

    def complete(self, points: Iterable[Point]) -> None:
        """All points, once nothing is learned any more: those of a time when the run was not tracked follow."""
        if not self._goes_on:
            for point in points:
                if (point["agent"], point["steps"]) not in self._sent:
                    self.curve(point)

    def end(self, summary: Summary, run: Path) -> None:
        """The run has ended."""
        self._call("end", summary, artefacts(run))
        self._begun = False

    def _call(self, method: str, *given: Any) -> bool:
        """Call the tracker; whether it was there and did not fail."""
        if self._tracker is None:
            return False
        try:
            with blamed(f"{self.name}.{method}"):
                getattr(self._tracker, method)(*given)
        except PluginError as error:
            self._tracker = None
            what = plain(" ".join(str(error).split()), 500)
            warnings.warn(f"{what}; the run goes on, and is not tracked from here on", stacklevel=2)
            return False
        return True


def open_tracker(track: "str | Tracker | None") -> Tracked:
    """A tracker by its name, one's own class by "my_module:MyTracker", or nothing.

    Raises:
        PluginError: there is no such tracker, or it cannot be made.
        MissingExtraError: its package is not installed.
    """
    if track is None:
        return Tracked()
    if isinstance(track, Tracker):
        return Tracked(track, type(track).__name__)
    if track in TRACKERS:
        made = getattr(import_module("lerl.run.trackers"), TRACKERS[track])
        _check_installed(track)
    else:
        made = with_defaults(load_plugin(track, "--track", TRACKERS, (), METHODS), Tracker)
    with blamed(f"--track is {track!r}, but {made.__name__}()"):
        return Tracked(made(), track)


def _check_installed(name: str) -> None:
    from importlib.util import find_spec

    if sys.modules.get(name, ...) is None or find_spec(name) is None:
        raise MissingExtraError(install_hint(name), name=name)


def _kept(folder: Path, name: str) -> str | None:
    """The id that this user's key sealed; a run of somebody else must not name a tracked run of this user."""
    path = folder / KEPT
    with suppress(OSError, ValueError, KeyError, TypeError):
        refuse_endless(path, 1 << 16)
        found = json.loads(path.read_text(encoding="utf-8"))[name]
        if hmac.compare_digest(str(found["seal"]), seal("tracked run", name, str(found["id"]))):
            return str(found["id"])
    return None


def _keep(folder: Path, name: str, made: str) -> None:
    """Remember an id beside those of other trackers."""
    path, others = folder / KEPT, {}
    with suppress(OSError, ValueError):
        refuse_endless(path, 1 << 16)
        others = json.loads(path.read_text(encoding="utf-8"))
    try:
        entry = {name: {"id": made, "seal": seal("tracked run", name, made)}}
        write_whole(path, json.dumps((others if isinstance(others, dict) else {}) | entry, indent=1) + "\n")
    except OSError as error:
        warnings.warn(f"{path} could not be written ({error}); a resumed run will be a new one there", stacklevel=2)

"""A Minari data set (https://minari.farama.org) of recorded sessions."""

import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lerl.run.export import Export, Recording, environment_spec, unrecoverable
from lerl.startup import require

FORMAT = "arrow"
"""How Minari keeps the arrays; it comes with the extra [offline]."""


class ExportError(ValueError):
    """Minari cannot keep sessions under a name; the message says why and what to do."""


class MinariWriter:
    """Writes a data set under MINARI_DATASETS_PATH, or where Minari keeps them without it.

    Observations and actions are the environment's; nothing hidden is among them. Each episode's metadata has its
    `agent`, its `seed` and `options`: `env.reset(seed=seed, options=options)` begins the same session again in what
    `recover_environment()` gives.

    Args:
        name: of the data set, as Minari wants it: "my-data-v0" or "group/my-data-v0". export: what is written.

    Raises:
        ExportError: Minari does not take the name, or has such a data set already.
        MissingExtraError: Minari is not installed.
    """

    def __init__(self, name: str, export: Export) -> None:
        require("offline")
        self.name, self.export = name, export
        self.path = _vacant(name)

    def write(self, recordings: Iterable[Recording]) -> Path:
        """Write all recordings, and say where; what is half written is removed."""
        import minari

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that there is no author, and so on
                storage: Any = minari.create_dataset_from_buffers(self.name, [], **self._about()).storage
            storage.get_size = lambda: 0.0  # it is asked for after each episode, and looks at all files before it
            for recording in recordings:
                known = storage.total_episodes
                storage.update_episodes(self._buffers(recording))
                rows = range(known, storage.total_episodes)
                storage.update_episode_metadata([{"agent": recording.agent}] * len(rows), rows)
            del storage.get_size
            storage.update_metadata({"dataset_size": storage.get_size()})
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        return self.path

    def _about(self) -> dict[str, Any]:
        """What Minari is told of the data set."""
        export = self.export
        env = export.environment()
        about = {
            "algorithm_name": ", ".join(export.agents),
            "description": f"{export.sessions} sessions of each agent with simulated users of the split {export.split}",
            "data_format": FORMAT,
            "requirements": ["lerl-rec"],
        }
        if unrecoverable(export.task.config):
            return about | {"observation_space": env.observation_space, "action_space": env.action_space}
        return about | {"env": env, "eval_env": environment_spec(export.task, "evaluation")}

    def _buffers(self, recording: Recording) -> Iterator[Any]:
        from minari.data_collector import EpisodeBuffer

        played, tape = recording.played, recording.tape
        for n, length in enumerate(played.lengths.tolist()):
            actions, last = tape.actions[n, :length], np.arange(length) == length - 1
            yield EpisodeBuffer(
                seed=recording.seeds[n],
                options={"users": [int(played.users[n])]},
                observations={name: kept[n, : length + 1] for name, kept in tape.observations.items()},
                actions=actions[:, 0] if actions.shape[1] == 1 else actions,
                rewards=played.rewards[n, :length].tolist(),
                terminations=(last & played.left[n]).tolist(),
                truncations=(last & ~played.left[n]).tolist(),
            )


def _vacant(name: str) -> Path:
    """Where Minari will keep a data set of this name."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError):  # the latter where there is no version
        raise ExportError(
            "--minari takes a name of letters, digits, - and _ that ends in a version, such as quickstart-v0 or "
            f"my-team/quickstart-v0, given {name!r}"
        ) from None
    path = Path(get_dataset_path(name))
    if path.exists():
        raise ExportError(
            f"Minari has a data set {name!r} already, in {path}; give another name or version, or remove that folder "
            "where an export was killed before its end"
        )
    return path

"""What users are like: which dynamics, how they respond, when they leave, how long a session may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lerl.envs.checks import check_type, check_types, overlaid
from lerl.envs.dynamics import Boredom, Drift, Fatigue, Mood, Patience, Satisfaction, Similarity
from lerl.envs.leave import Leave


@dataclass(frozen=True)
class SimulatorConfig:
    """Everything about the users' behaviour that may be set.

    Args:
        slate_size: items shown per step, at least 1, at most as many as there are.
        max_steps: steps after which a session is cut (truncated), at least 1.
        repeats: whether an item may be shown again in a session; otherwise its copy is an empty slot.
        feedback: "click" (0 or 1), "rating" (1 to 5 stars, seen as 0, 0.25, 0.5, 0.75, 1; a click is 4 or more), or
            "weighted" (the mean of the kinds of feedback that a population was prepared with by --feedback).
        topics: what bores: "hidden" clusters of the true item vectors, or "categories", the catalogue's own.
        topic_count: how many hidden clusters.
        response: "latent", "lookup" (in the matrix of a population prepared with --dense), "sequence" (a Transformer
            that `lerl fit` made; drift must be off), or your own as "my_package.my_module:MyResponse", made with the
            population.
        drift: how tastes move.
        boredom: how topics bore.
        fatigue: how sessions tire.
        mood: what comes and goes by itself.
        similarity: what items of one slate that are alike cost.
        satisfaction: how satisfaction follows what is felt.
        patience: how people differ in staying.
        leave: when people go.
    """

    slate_size: int = 1
    max_steps: int = 100
    repeats: bool = False
    feedback: str = "click"
    topics: str = "hidden"
    topic_count: int = 20
    response: str = "latent"
    drift: Drift = field(default_factory=Drift)
    boredom: Boredom = field(default_factory=Boredom)
    fatigue: Fatigue = field(default_factory=Fatigue)
    mood: Mood = field(default_factory=Mood)
    similarity: Similarity = field(default_factory=Similarity)
    satisfaction: Satisfaction = field(default_factory=Satisfaction)
    patience: Patience = field(default_factory=Patience)
    leave: Leave = field(default_factory=Leave)

    def __post_init__(self) -> None:
        check_types(self, "env")
        for name in ("slate_size", "max_steps", "topic_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"env.{name} must be at least 1, given {getattr(self, name)}")
        if self.feedback not in ("click", "rating", "weighted"):
            raise ValueError(f"env.feedback must be 'click', 'rating' or 'weighted', given {self.feedback!r}")
        if self.topics not in ("hidden", "categories"):
            raise ValueError(f"env.topics must be 'hidden' or 'categories', given {self.topics!r}")


def configured(config: SimulatorConfig | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> SimulatorConfig:
    """A configuration with settings laid over it, as somebody gives them in Python.

    Args:
        config: what the settings go over; the defaults when None. A dictionary is laid over the defaults.
        settings: values by field; a section such as `boredom` is given whole or as a dictionary, `leave` also as the
            name of its rule. `max_episode_steps` is Gymnasium's name of `max_steps`; None and -1 leave that as it is.

    Raises:
        ValueError: an unknown name, a value outside its range, or a cap given twice.
        TypeError: a value of a wrong type.
    """
    if not isinstance(config, SimulatorConfig):
        if not isinstance(config, Mapping | None):
            raise TypeError(f"config must be a SimulatorConfig or a dictionary, given {config!r}")
        config = configured(SimulatorConfig(), config or {})
    changes = dict(settings)
    cap = changes.pop("max_episode_steps", None)
    if cap is not None and cap != -1:
        check_type("max_episode_steps", cap, int)
        if cap < 1:
            raise ValueError(f"max_episode_steps must be at least 1, or -1 to leave max_steps as it is, given {cap}")
        if changes.setdefault("max_steps", cap) != cap:
            raise ValueError(
                "max_episode_steps is Gymnasium's name of max_steps: give one of them, "
                f"given {cap} and {changes['max_steps']}"
            )
    if isinstance(changes.get("leave"), str):
        changes["leave"] = {"rule": changes["leave"]}
    return overlaid(config, changes, "env.")

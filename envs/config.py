"""Settings of the simulated users: their dynamics, how they respond, when they leave, how long a session may be.

Every mechanism has its formula and its source here; `dynamics` and `leave` compute them. A mechanism that is switched
off leaves its part of the state as it was at the start of the session.

The default strengths are assumptions, chosen so that a session of 100 slates has something to plan for. Real logs show
smaller effects: with taste removed, the share of one category among the last ten views going from 0 to 1 moves a
MovieLens-1M rating by -0.03 stars and the long-view rate of KuaiRand by -0.017 (base rate 0.348); views in the last 30
minutes move it by -0.032. Neither log can identify when people leave.
"""

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lerl.envs.checks import (
    LARGEST,
    AboveZero,
    Count,
    Real,
    Share,
    Strength,
    Switch,
    Text,
    Whole,
    build,
    check_type,
    merged,
    settings,
)
from lerl.envs.sessions.config import Return

Topics = Literal["hidden", "categories"]
"""What users get bored of: clusters of the true item vectors, hidden from agents, or the catalog's categories."""


@settings(frozen=True)
class Drift:
    """Taste wanders around a slow anchor, follows what was clicked, and now and then shifts for good.

    With n = |anchor|, c the mean unit vector of the clicked items and z standard normal in d dimensions:

        taste  <- n * unit(taste + revert * (anchor - taste) + pull * n * c + noise * n * z / sqrt(d))
        anchor <- n * unit((1 - shift_size) * anchor + shift_size * n * unit(another user's taste))

    The anchor moves, before the taste does, in a step with chance shift_probability; the other user is a training user.
    Only the direction moves; how much a user likes things at all stays. The source of the drifting direction is the
    interest evolution of RecSim (Ie et al., 2019, section 5.2); the anchor and the shifts are ours.

    Args:
        enabled: whether tastes move at all.
        revert: pull back to the anchor per step, in [0, 1].
        pull: pull towards what was clicked per step, in [0, 1].
        noise: size of the random move per step, as a share of the taste's length, in [0, 1e6].
        shift_probability: chance per step that the anchor itself moves, in [0, 1].
        shift_size: how far it then moves, 0 not at all, 1 all the way.
    """

    enabled: Switch = True
    revert: Share = 0.05
    pull: Share = 0.02
    noise: Strength = 0.1
    shift_probability: Share = 0.02
    shift_size: Share = 0.5


@settings(frozen=True)
class Boredom:
    """The more a topic was shown lately, the more users are bored of it.

        an item's log-odds of a click fall by weight * (mean boredom of its topics)
        after each of a slate's n slots:  boredom[k] <- fade * (boredom[k] + 1/n, if the slot holds an item of topic k),
        fade = exp(-1 / (n * time_constant))

    A slate is its items seen one after another: n items in one slate bore as much as in n slates of one item, with n
    times the time constant and an nth of the weight. Without `within_slate`, as before version 0.2, boredom stays what
    it is until the slate is over, and then fades at once: a slate of one topic costs nothing within itself.

    This is the satiation of rebounding bandits (Leqi, Kilinc-Karzan, Lipton and Montgomery, NeurIPS 2021, eq. 1) on the
    log-odds scale. An item of several topics counts fully in each.

    Args:
        enabled: whether users get bored.
        weight: log-odds per unit of boredom, at least 0; one unit is one whole slate of the topic, just shown.
        time_constant: steps in which boredom fades to 1/e, above 0.
        within_slate: whether an item is met with the boredom that the slots before it left.
    """

    enabled: Switch = True
    weight: Annotated[Real, Field(ge=0)] = 1.0
    time_constant: AboveZero = 8.0
    within_slate: Switch = True


@settings(frozen=True)
class Fatigue:
    """Users get tired in a long session, whatever is shown.

        fatigue <- fatigue + (1 - fatigue) * (1 - exp(-1 / time_constant)), in [0, 1]
        every item's log-odds of a click fall by weight * fatigue

    The form is ours: a saturating leaky count of steps.

    Args:
        enabled: whether users get tired.
        weight: log-odds at full fatigue, at least -20; below 0, users click more the longer the session.
        time_constant: steps in which fatigue reaches 1 - 1/e, above 0.
    """

    enabled: Switch = True
    weight: Annotated[Real, Field(ge=-20)] = 0.4
    time_constant: AboveZero = 30.0


@settings(frozen=True)
class Mood:
    """A user's mood changes during the session, for no reason that a recommender could see.

        mood <- keep * mood + spread * sqrt(1 - keep^2) * z,  keep = exp(-1 / time_constant),  z standard normal
        every item's log-odds of a click rise by mood

    A stationary first-order autoregression, begun with a draw of its own. The form is ours; the feedback of
    neighbouring interactions in real logs is more correlated than tastes and items explain.

    Args:
        enabled: whether there are moods.
        spread: standard deviation of the mood, log-odds, in [0, 1e6]; 0 for none.
        time_constant: steps in which a mood fades to 1/e, above 0.
    """

    enabled: Switch = True
    spread: Strength = 0.0
    time_constant: AboveZero = 5.0


@settings(frozen=True)
class Similarity:
    """Similar items in one slate take clicks from each other.

        chance of a click <- max(chance - weight * mean over the slate's items of the cosine to them, 0), at most 1

    The mean is over all items shown in the slate, the item itself among them (cosine 1), as in the KuaiSim variant of
    the LERL experiments (arXiv 2601.19585), whose weight is 0.2; cosines are between true item vectors. The
    chance that is lowered already includes boredom and fatigue.

    Args:
        weight: by how much a slate of identical items lowers the chance of a click, in [0, 1]; 0 for no effect.
    """

    weight: Share = 0.0


@settings(frozen=True)
class Complement:
    """Items of one slate suit each other or do not, in general and for this user.

    With v the true item vectors, u the user's true taste at first, * element by element, and signs s and t drawn from
    what makes the population:

        an item's log-odds of a click rise by the mean over the slate's other items of
        pair * (s . (v_i * v_j)) / sd + user_pair * (t . (u * v_i * v_j)) / sd

    Each sum is divided by its standard deviation over pairs of items, and over users and pairs. Such terms are those of
    the simulation studies of JIMA (Bi, Wang, Adomavicius and Curley, arXiv 2601.19005).

    Args:
        pair: log-odds by which a pair one standard deviation better than others is better, in [0, 20]; 0 for no effect.
        user_pair: the same of what suits this user, in [0, 20].
    """

    pair: Annotated[Real, Field(ge=0, le=20)] = 0.0
    user_pair: Annotated[Real, Field(ge=0, le=20)] = 0.0


@settings(frozen=True)
class Satisfaction:
    """A moving average of what users feel: the mean chance of a click over the slate, where empty slots count 0.

        satisfaction <- satisfaction + rate * (felt - satisfaction), in [0, 1]

    After the satisfaction state of RecSim's long-term satisfaction environment (Ie et al., 2019), without its noise.

    Args:
        enabled: whether satisfaction follows what is shown.
        rate: weight of the newest slate in the average, in [0, 1].
        initial: satisfaction at the session's start, in [0, 1].
    """

    enabled: Switch = True
    rate: Share = 0.2
    initial: Share = 0.6


@settings(frozen=True)
class Patience:
    """Some people stay longer than others: patience = exp(spread * z), z standard normal, drawn per session.

    The chance of leaving at a step is divided by it. The log-normal form is ours.

    Args:
        enabled: whether people differ; otherwise everybody has patience 1.
        spread: standard deviation of log patience, in [0, 10]; beyond it, single precision rounds patience to 0.
    """

    enabled: Switch = True
    spread: Annotated[Real, Field(ge=0, le=10)] = 0.3


@settings(frozen=True)
class SatisfactionHazard:
    """The less satisfied a user is, the likelier the user leaves.

        hazard = highest * sigmoid((threshold - satisfaction) / width) / patience, at most 1

    The form and the strengths are assumptions: no public log shows why people leave.

    Args:
        highest: chance of leaving per step of somebody wholly unsatisfied, in [0, 1].
        threshold: satisfaction at which the chance is half of that, in [0, 1].
        width: how sharply it changes around the threshold, above 0.
    """

    highest: Share = 0.5
    threshold: Share = 0.4
    width: AboveZero = 0.08


@settings(frozen=True)
class RepetitionWindow:
    """A user leaves when one topic fills more than `most` of the last `window` slots.

    The quit rule of CIRS (Gao et al., ACM TOIS 2023) and its successors, on slots instead of single items.

    Args:
        window: number of latest slots looked at, at least 1.
        most: how many of them one topic may fill, at least 0.
    """

    window: Count = 12
    most: Annotated[Whole, Field(ge=0)] = 8


@settings(frozen=True)
class StepBudget:
    """Every step uses up a budget, a repeating step more of it; a user with less than 1 left leaves.

    The rule of the KuaiSim variant in the LERL experiments (arXiv 2601.19585). "slot" charges for a slate in which any
    slot holds a topic that the same slot of the previous slate held, as published; the same six topics in another order
    then cost nothing. "shared" charges when the two slates share any topic at all.

    Args:
        budget: what a session starts with, above 0 and at most 1e6.
        step_cost: used up by every slate, in [0, 1e6].
        repetition_cost: used up in addition by a slate that repeats, in [0, 1e6].
        repetition: "slot" or "shared".
    """

    budget: Annotated[Real, Field(ge=1e-9, le=LARGEST)] = 20.0
    step_cost: Strength = 1.0
    repetition_cost: Strength = 1.0
    repetition: Literal["slot", "shared"] = "slot"


@settings(frozen=True)
class Leave:
    """The rule that decides when a user leaves, and the settings of each rule.

    Args:
        rule: "satisfaction", "window", "budget", "never", or your own as "my_package.my_module:MyRule".
        satisfaction: strengths of the satisfaction-driven hazard.
        window: strengths of the repetition window.
        budget: strengths of the step budget.
    """

    rule: Text = "satisfaction"
    satisfaction: SatisfactionHazard = field(default_factory=SatisfactionHazard)
    window: RepetitionWindow = field(default_factory=RepetitionWindow)
    budget: StepBudget = field(default_factory=StepBudget)


@settings(frozen=True)
class SimulatorConfig:
    """All settings of the users' behaviour.

    Args:
        slate_size: items shown per step, at least 1, at most as many as there are.
        max_steps: steps after which a session is cut (truncated), at least 1.
        roles: of composite slates, a role for each slot, at least two: the category that fills it, or
            `name=category|category`. An item in a slot of another role leaves it empty; the whole is answered too.
        repeats: whether an item may be shown again in a session; otherwise its copy is an empty slot.
        feedback: "click" (0 or 1), "rating" (1 to 5 stars, seen as 0, 0.25, 0.5, 0.75, 1; a click is 4 or more), or
            "weighted" (the mean of the kinds of feedback that a population was prepared with by --feedback).
        topics: what users get bored of: "hidden" clusters of the true item vectors, or the catalog's "categories".
        topic_count: how many hidden clusters.
        response: "latent", "lookup" (in the matrix of a population prepared with --dense), "sequence" (a Transformer
            that `lerl fit` made; drift must be off), "collective" (one with a smaller cache), or your own as
            "my_package.my_module:MyResponse", made with the population.
        drift: how tastes move.
        boredom: how users get bored of topics.
        fatigue: how users get tired.
        mood: how moods change.
        similarity: how similar items in a slate take clicks from each other.
        complement: how items of a slate suit each other.
        satisfaction: how satisfaction follows the slates.
        patience: how users differ in how long they stay.
        leave: when users leave.
        horizon: "session" for episodes of one session; "days" for lives: who leaves comes back as `return_` says.
        days: how many days a life is looked at, from 1 to 3,650; it counts where the horizon is "days".
        return_: what happens between the sessions of one person, and how long until the next.
    """

    SECTION: ClassVar[str] = "env"

    slate_size: Annotated[Whole, Field(ge=1, le=1_000)] = 1
    max_steps: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    roles: list[Text] = field(default_factory=list)
    repeats: Switch = False
    feedback: Literal["click", "rating", "weighted"] = "click"
    topics: Topics = "hidden"
    topic_count: Annotated[Whole, Field(ge=1, le=10_000)] = 20
    response: Text = "latent"
    drift: Drift = field(default_factory=Drift)
    boredom: Boredom = field(default_factory=Boredom)
    fatigue: Fatigue = field(default_factory=Fatigue)
    mood: Mood = field(default_factory=Mood)
    similarity: Similarity = field(default_factory=Similarity)
    complement: Complement = field(default_factory=Complement)
    satisfaction: Satisfaction = field(default_factory=Satisfaction)
    patience: Patience = field(default_factory=Patience)
    leave: Leave = field(default_factory=Leave)
    horizon: Literal["session", "days"] = "session"
    days: Annotated[Real, Field(ge=1, le=3650)] = 30.0
    return_: Return = field(default_factory=Return)


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
    if not isinstance(config, SimulatorConfig | Mapping | None):
        raise TypeError(f"config must be a SimulatorConfig or a dictionary, given {config!r}")
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
    old = asdict(config) if isinstance(config, SimulatorConfig) else config or {}
    return build(SimulatorConfig, merged(old, changes))

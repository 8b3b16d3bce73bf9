"""Settings of what happens between the sessions of one person; `lerl.envs.sessions.returns` computes it.

Time between sessions is in days. A session itself takes no time on this clock: it is in steps. Unless a log was fitted
(`lerl fit FOLDER --returns`), all strengths here are assumptions: they were chosen, not measured.
"""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from lerl.envs.checks import AboveZero, Real, Share, Strength, Switch, settings

Weight = Annotated[Real, Field(ge=-20, le=20)]
"""Of something from 0 to 1 in the logarithm of a gap."""

MOST_DAILY = 0.95
"""The most of a rhythm: at 1 the clock would stand still once a day, or once a week."""


@settings(frozen=True)
class Gap:
    """How many days after leaving a person comes back: a Weibull gap, whose scale depends on how it was.

        gap = shortest + wait,  wait = scale * (-log u)^(1 / shape),  u uniform in (0, 1]
        log(scale) = log(typical / log(2)^(1 / shape)) - person * z
                     - session * (s - 0.5) - memory * (m - 0.5) - habit * h

    With a daily or weekly rhythm the wait is on a clock that is fast at the busy hours and days, slow at the others,

        C(now + gap) = C(now + shortest) + wait,  C'(x) = (1 + daily * cos(2 pi x)) * (1 + weekly * cos(2 pi x / 7))

    where now is days since the first session, which is at the busiest hour of the busiest day: so is every whole day
    after it of its week, and every seventh; see `lerl.envs.sessions.rhythm`.

    s is satisfaction at the end of the session, m what is remembered then, h the habit, and z standard normal, drawn
    once for a life. Without a rhythm the hazard of coming back t days after `shortest` is shape / scale * (t /
    scale)^(shape - 1), and each weight times `shape` is a log hazard ratio. That the return time follows what a session
    was worth is the subject of RLUR (Cai et al., "Reinforcing user retention in a billion scale short video
    recommender system", WWW 2023, arXiv 2302.01724); KuaiSim (Zhao et al., NeurIPS 2023) has a level of return above
    those of request and session. The form is the Weibull model of accelerated failure time; the weights are
    assumptions.

    Args:
        typical: the median gap, less `shortest`, of an average person with s = m = 0.5 and no habit, days, above 0.
        shape: below 1 many come back soon and few late, 1 for exponential gaps; from 0.05 to 20.
        person: standard deviation of log gaps between people, at least 0; 0 where all have one base rate.
        session: by how much s = 1 shortens the log gap beside s = 0, from -20 to 20.
        memory: by how much m = 1 shortens it beside m = 0, from -20 to 20.
        habit: by how much h = 1 shortens it beside h = 0, from -20 to 20.
        shortest: days that nobody comes back before, at least 0: what is nearer counts as one session in logs.
        daily: how much the hour matters, from 0, for not at all, to 0.95: at the busiest hour people come (1 + daily) /
            (1 - daily) times as readily as half a day from it.
        weekly: how much the day of the week matters, from 0, for not at all, to 0.95: on the busiest day people come (1
            + weekly) / (1 - weekly) times as readily as half a week from it.
    """

    typical: AboveZero = 1.0
    shape: Annotated[Real, Field(ge=0.05, le=20)] = 0.8
    person: Annotated[Real, Field(ge=0, le=10)] = 0.5
    session: Weight = 1.0
    memory: Weight = 2.0
    habit: Weight = 0.5
    shortest: Annotated[Real, Field(ge=0, le=365)] = 1 / 48
    daily: Annotated[Real, Field(ge=0, le=MOST_DAILY)] = 0.0
    weekly: Annotated[Real, Field(ge=0, le=MOST_DAILY)] = 0.0


@settings(frozen=True)
class Memory:
    """What is remembered of how earlier sessions were: a slow leaky average of satisfaction.

        at a session's end    m <- m + rate * (s - m), in [0, 1]
        over a gap            m <- neutral + (m - neutral) * exp(-gap / fades)

    It begins at `neutral`. A slow state that days add to, and that tells more of coming back than any one day, is that
    of impatient bandits (McDonald et al., KDD 2023, and arXiv 2501.07761); the form is ours.

    Args:
        enabled: whether anything is remembered; otherwise m stays neutral.
        rate: weight of the newest session, in [0, 1].
        neutral: what is remembered at first, and what memory fades to, in [0, 1].
        fades: days in which memory fades to 1/e, above 0.
    """

    enabled: Switch = True
    rate: Share = 0.2
    neutral: Share = 0.5
    fades: AboveZero = 30.0


@settings(frozen=True)
class Habit:
    """Who came often lately comes sooner.

        at a session's start  h <- h + rate * (1 - h), in [0, 1]
        over a gap            h <- h * exp(-gap / fades)

    It begins at 0. The form is ours.

    Args:
        enabled: whether there are habits; otherwise h stays 0.
        rate: what one session adds, as a share of what is left to 1, in [0, 1].
        fades: days in which habit fades to 1/e, above 0.
    """

    enabled: Switch = True
    rate: Share = 0.2
    fades: AboveZero = 7.0


@settings(frozen=True)
class Churn:
    """Some never come back: decided when a session ends, by what is remembered then.

        chance = highest * sigmoid((threshold - m) / width)

    Without memory m is neutral, and the chance the same for all. The form is that of `SatisfactionHazard`; it and the
    strengths are assumptions: in a log that ends, nobody can tell those who never come back from those who come late.

    Args:
        enabled: whether anybody leaves for good.
        highest: chance after a session of somebody who remembers nothing but dissatisfaction, in [0, 1].
        threshold: m at which the chance is half of that, in [0, 1].
        width: how sharply it changes around the threshold, above 0.
    """

    enabled: Switch = True
    highest: Share = 0.2
    threshold: Share = 0.35
    width: AboveZero = 0.08


@settings(frozen=True)
class Rest:
    """Boredom, fatigue and mood fade by the clock; how much of satisfaction a session begins with.

        boredom <- boredom * exp(-gap / boredom_fades), fatigue likewise
        mood    <- keep * mood + spread * sqrt(1 - keep^2) * z,  keep = exp(-gap / mood_fades), spread that of `Mood`
        satisfaction at a session's start = initial + remembered * (m - initial), initial that of `Satisfaction`

    Args:
        enabled: whether anything is carried over; otherwise a session begins as the first one does.
        boredom_fades: days in which boredom of a topic fades to 1/e, above 0.
        fatigue_fades: days in which fatigue fades to 1/e, above 0.
        mood_fades: days in which a mood fades to 1/e, above 0.
        remembered: share of what is remembered in the satisfaction that a session begins with, in [0, 1].
    """

    enabled: Switch = True
    boredom_fades: AboveZero = 2.0
    fatigue_fades: AboveZero = 0.25
    mood_fades: AboveZero = 0.5
    remembered: Share = 0.3


@settings(frozen=True)
class Wander:
    """Taste goes on moving between sessions, from where the last one left it.

        taste <- n * unit(taste + (1 - exp(-gap / reverts)) * (anchor - taste) + noise * sqrt(gap) * n * z / sqrt(d))

    n is the length of the taste's anchor and z standard normal in d dimensions, as in `Drift`; the anchor stays where
    the session left it. Where drift is off tastes stay what they are, and this counts for nothing. The form is ours.

    Args:
        enabled: whether the next session begins with the taste that the last one left; otherwise each begins with the
            person's first taste.
        reverts: days in which 1 - 1/e of the way back to the anchor is gone, above 0.
        noise: size of the random move of one day, as a share of the taste's length.
    """

    enabled: Switch = True
    reverts: AboveZero = 10.0
    noise: Strength = 0.05


@settings(frozen=True)
class Return:
    """Everything between the sessions of one person; it counts where `env.horizon` is "days".

    Args:
        gap: how long until the next session.
        memory: what is remembered of earlier sessions.
        habit: how those who came often come sooner.
        churn: who never comes back.
        rest: what fades between sessions, and what a session begins with.
        wander: how tastes move between sessions.
    """

    gap: Gap = field(default_factory=Gap)
    memory: Memory = field(default_factory=Memory)
    habit: Habit = field(default_factory=Habit)
    churn: Churn = field(default_factory=Churn)
    rest: Rest = field(default_factory=Rest)
    wander: Wander = field(default_factory=Wander)

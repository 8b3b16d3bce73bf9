"""How training steps are shared between a planner's lessons and a policy, and what is too few to learn."""

SHARE = 3, 4
"""The largest share of train.steps for a planner's training sessions, if each of them lasts env.max_steps."""
ROLLOUTS = 4
"""In rollouts of train.users users for train.rollout steps; with fewer, a policy has hardly changed."""
UNTRAINED, FEW = "untrained", "too few steps"


def lessons(sessions: int, steps: int, max_steps: int) -> int:
    """How many sessions a planner is given to learn from: those wanted, fewer where the steps are few; 0 below two.

    Args:
        sessions: planner.sessions. steps: train.steps. max_steps: env.max_steps.
    """
    given = min(sessions, SHARE[0] * steps // (SHARE[1] * max_steps))
    return given if given >= 2 else 0


def mark(own: int, users: int, rollout: int) -> str:
    """What tables and pictures say beside an agent whose policy learned for `own` user-steps; empty where it is enough.

    Args:
        own: without the planner's lessons. users: train.users. rollout: train.rollout.
    """
    if own <= 0:
        return UNTRAINED
    return FEW if own < ROLLOUTS * users * rollout else ""


def marked(agent: str, said: str) -> str:
    """An agent's name with its mark."""
    return f"{agent} ({said})" if said else agent

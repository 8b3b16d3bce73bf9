"""A planner around the environment: plans in the observation, and what they allow as action masks.

Any learner can then be trained under any planner, built in or of one's own, a chat model's included.
"""

from typing import Any

from lerl.envs.session import SessionEnv, SessionVectorEnv
from lerl.planners.base import Planner
from lerl.wrappers.many import PlannedVectorEnv
from lerl.wrappers.one import PlannedEnv
from lerl.wrappers.plans import Ineligible, IneligibleItemError, Plans

__all__ = ["IneligibleItemError", "Planned", "PlannedEnv", "PlannedVectorEnv"]


def Planned(
    env: Any,
    planner: Planner | str = "boredom",
    *,
    size: int = 6,
    replan_every: int = 1,
    ineligible: Ineligible = "replace",
) -> Any:
    """An environment of lerl's under a planner.

    The observation gets `plan_allowed` and `plan_avoided`, (C,) float32 of 0 and 1, and `plan_age`, (1,) float32, steps
    since the plan was made. `action_masks()`, and with slates of one `info["action_mask"]`, say which items the plan
    allows that were not shown; a plan that leaves fewer than a slate is widened as agents of a run widen theirs.
    `info["rationale"]` is the planner's line, "" where it gives none.

    Args:
        env: a `SessionEnv` or `SessionVectorEnv`, wrapped or not, of any autoreset mode. Its axis is planned on.
        planner: an object with `plan(contexts)`, a chat model's too; or the name of a rule.
        size: most categories in a plan of a rule that is given by name. replan_every: steps for which a plan is kept.
        ineligible: what becomes of an item in an action that the plan does not allow: "replace" it by the allowed item
            that the user's known taste ranks first, "refuse" it with `IneligibleItemError`, or "allow" it.

    Raises:
        TypeError: no environment of lerl's, or no planner. ValueError: an argument out of range.

    Examples:
        >>> import gymnasium
        >>> from lerl.wrappers import Planned
        >>> env = Planned(gymnasium.make("lerl/Synthetic-v0"), "rotation", size=3)
        >>> observation, info = env.reset(seed=0)
        >>> int(observation["plan_allowed"].sum())
        3
        >>> env.action_masks().shape == (env.action_space.n,)
        True
    """
    own = env.unwrapped
    if not isinstance(own, SessionEnv | SessionVectorEnv):
        raise TypeError(f"Planned wraps lerl's environments, given {own!r}")
    if planner is None:
        raise TypeError(
            "Planned needs a planner, an object with plan(contexts) or a rule's name; without one leave it out"
        )
    count = own.num_envs if isinstance(own, SessionVectorEnv) else 1
    plans = Plans(own._session, count, planner, size, replan_every, ineligible)
    return PlannedVectorEnv(env, plans) if isinstance(own, SessionVectorEnv) else PlannedEnv(env, plans)

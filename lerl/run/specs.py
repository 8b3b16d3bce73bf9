"""The agents of a recipe: what a name such as boredom+ppo stands for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lerl.agents.base import Agent
from lerl.agents.baselines import BASELINES
from lerl.agents.belief.agent import NAME
from lerl.agents.belief.planned import NAME as ABOVE_BELIEF
from lerl.agents.composite.agent import ROWS as COMPOSITE
from lerl.agents.learners.registry import LEARNERS
from lerl.agents.next_item.registry import IN_SESSIONS
from lerl.config.schema import AUTO, Config
from lerl.envs.checks import did_you_mean
from lerl.envs.plugins import PluginError, load_plugin
from lerl.planners.llm.planner import MODELS
from lerl.planners.rules import RULES

PLANNERS = (*RULES, *MODELS)
RANKED = tuple(label for name in IN_SESSIONS for label in (name, f"{name}+mmr"))
"""Agents that rank the next item by what is known of training users, alone or below a planner."""
BY_BELIEF = {f"{ABOVE_BELIEF}+{name}": name for name in IN_SESSIONS}
"""What is below a planner that plans by belief, where items are those of a recommender of the next item."""
SCORERS = (*LEARNERS, "greedy", "mmr", "ppo+mmr", ABOVE_BELIEF, *BY_BELIEF, *COMPOSITE, *RANKED)
RETURN = "@return"
"""Behind the name of an agent that learns, where it learns from people who come back what brings them back."""
BELIEF = NAME
FLOORS, TOLD = ("random", "popularity"), ("informed", "privileged")
"""Baselines that know too little, and such as are told what nobody knows."""
PLANNED = tuple(f"planner.{name}" for name in ("size", "replan_every", "replan_below", "avoidance", "sessions"))
"""Settings of every planner, which mean nothing to an agent without one."""
CHAT = tuple(
    f"planner.{name}"
    for name in (
        "base_url", "client", "temperature", "answer_tokens", "timeout", "concurrency", "fallback", "prompts", "detail",
        "candidates", "reflections", "distilled", "refresh", "budget.", "price.",
    )
)  # fmt: skip
"""Settings of a chat model, or of what learned from one."""
FITTED_PARTS = ("boredom", "fatigue", "mood", "drift")
"""Of env, what is fitted to a log."""
FITTED_RETURNS = ("gap", "habit", "churn")
"""The same of env.return_, or what that leaves no place for."""
UNFITTED = (*(f"env.{part}.enabled" for part in FITTED_PARTS), "env.boredom.within_slate")
"""Of these parts, what is not."""
ALONE = (AUTO, BELIEF, *COMPOSITE, *RANKED, *BASELINES)
"""Agents by their whole name."""


@dataclass(frozen=True)
class AgentSpec:
    """An agent: a baseline by name, or a planner (none for flat) above a scorer, perhaps re-ranked.

    Attributes:
        label: what tables call it.
        planner: a planner's name, None without one.
        learner: the learner of its policy, such as "ppo"; None to rank by the taste estimated from history.
        diverse: whether maximal marginal relevance re-ranks.
        baseline: "random", "popularity", "informed", "privileged", "belief+greedy", "auto" or "module:Class"; None for
            others.
        believes: whether it plays, or its planner plans, by what was learned of people and items, which is fitted once
            for all who do.
        next_item: the recommender of the next item whose ranking it shows, such as "tiger"; None for others.
        composite: the model of wholes that fills its slates, by name; None for others.
        returns: whether its policy learns from lives, see `lerl.agents.learners.returning`, and not from sessions; of
            "belief+greedy" whether its prices are chosen on them, see `lerl.run.fit_prices`.
    """

    label: str
    planner: str | None = None
    learner: str | None = None
    diverse: bool = False
    baseline: str | None = None
    believes: bool = False
    next_item: str | None = None
    composite: str | None = None
    returns: bool = False

    @property
    def priced(self) -> bool:
        """Whether its prices of boredom are chosen on lives."""
        return self.returns and self.learner is None

    @property
    def samples(self) -> bool:
        """Whether its policy is sampled when it is evaluated."""
        return self.learner is not None and LEARNERS[self.learner].samples


def parse_agent(name: str, main_planner: str) -> AgentSpec:
    """What a name in `agents` stands for.

    Raises:
        PluginError: it stands for nothing; the message says what is allowed.
    """
    if name.endswith(RETURN):
        return _returning(name, main_planner)
    if name in BASELINES:
        return AgentSpec(name, baseline=name)
    if name == BELIEF:
        return AgentSpec(name, baseline=BELIEF, believes=True)
    if name == AUTO:
        return AgentSpec(name, baseline=AUTO)
    if name in COMPOSITE:
        return AgentSpec(name, composite=name)
    if name in RANKED:
        return AgentSpec(name, diverse=name.endswith("+mmr"), next_item=name.removesuffix("+mmr"))
    if why := _refusal(name, main_planner):
        raise PluginError(f"agents names {name!r}, {why}")
    head, plus, scorer = name.partition("+")
    if not plus:
        if callable(getattr(load_plugin(name, "agents", ALONE, ()), "plan", None)):
            raise PluginError(f"agents names {name!r}, which is a planner; say what it plans for: '{name}+ppo'")
        load_plugin(name, "agents", ALONE, ("begin", "act"))
        return AgentSpec(name.rpartition(":")[2], baseline=name)
    planner = main_planner if head == "planner" else head
    if head != "flat" and planner not in PLANNERS:
        load_plugin(planner, "planner.name" if head == "planner" else "agents", PLANNERS, ("plan",))
    if head == "flat" and scorer in RANKED:
        return parse_agent(scorer, main_planner)
    label = f"{head if head == 'flat' else planner.rpartition(':')[2]}+{scorer}"
    learner = scorer.removesuffix("+mmr")
    return AgentSpec(
        label,
        None if head == "flat" else planner,
        learner if learner in LEARNERS else None,
        scorer.endswith("mmr"),
        believes=scorer == ABOVE_BELIEF or scorer in BY_BELIEF,
        next_item=BY_BELIEF.get(scorer, learner if learner in IN_SESSIONS else None),
        composite=scorer if scorer in COMPOSITE else None,
    )


def _returning(name: str, main_planner: str) -> AgentSpec:
    """What the name of an agent that learns from people who come back stands for."""
    spec, learners = parse_agent(name.removesuffix(RETURN), main_planner), returning_learners()
    learns = spec.baseline == BELIEF or (spec.learner in learners and not spec.diverse)
    if not learns or spec.returns:
        raise PluginError(
            f"agents names {name!r}, but what comes back is learned from by PLANNER+LEARNER{RETURN} and "
            f"flat+LEARNER{RETURN}, where LEARNER is {', '.join(learners)}; give 'flat+ppo{RETURN}', or "
            f"'{BELIEF}{RETURN}'"
        )
    return replace(spec, label=f"{spec.label}{RETURN}", returns=True)


def returning_learners() -> list[str]:
    """Those without a replay buffer, which would hold rewards made of what coming back was once worth."""
    return [name for name, learner in LEARNERS.items() if not learner.off_policy]


def _refusal(name: str, main_planner: str) -> str:
    """Why a name that is none of lerl's own cannot be an agent, and what to give instead; empty where it can be."""
    head, _, scorer = name.partition("+")
    row, mark, _ = name.partition(" (")
    known, own = (*PLANNERS, "planner", "flat"), main_planner.rpartition(":")[2]
    if mark:
        return f"as tables mark it; give it without the mark: {row!r}"
    if name.endswith("@det"):
        row = name.removesuffix("@det")
        return f"which is {row!r} without sampling; give {row!r} and evaluation.deterministic true, for both"
    if head == "flat" and scorer in BY_BELIEF:
        return f"but a belief that nothing plans by changes no item; give {BY_BELIEF[scorer]!r}"
    if (head, scorer) == ("flat", ABOVE_BELIEF):
        return f"which is called {BELIEF!r}, the agent with a belief and without a planner"
    if head in IN_SESSIONS:
        return (
            f"but {head} chooses items itself; give {head!r}, '{head}+mmr' to re-rank for diversity, or a planner "
            f"above it such as 'boredom+{head}'"
        )
    if head == ABOVE_BELIEF and scorer in RANKED:
        return (
            f"but a belief is no planner, and chooses items itself; give {BELIEF!r}, or a planner above the "
            f"recommender, such as 'boredom+{scorer}' or, where it plans by a belief, 'boredom+{head}+{scorer}'"
        )
    if head in COMPOSITE or (scorer in COMPOSITE and head not in (*known, own) and ":" not in head):
        row = head if head in COMPOSITE else scorer
        return f"but {row} fills slates itself; give {row!r}, or a planner above it such as 'round_robin+{row}'"
    if head == "flat" and scorer in COMPOSITE:
        return f"which is called {scorer!r}"
    if name in known:
        return f"which is no agent, as it does not say what is planned for; give '{name}+ppo' or '{name}+greedy'"
    if name in SCORERS and name not in ALONE:
        return f"which is no agent, as it does not say what plans; give 'planner+{name}', or without one 'flat+{name}'"
    if own != main_planner and head == own:
        given = f"planner{name.removeprefix(head)}" if scorer else "planner+ppo"
        return f"without its module; give {given!r}, as planner.name is {main_planner!r}"
    if ":" in name if not scorer else scorer in SCORERS and (head in known or ":" in head):
        return ""
    if head[:1].isupper() and head.lower() not in PLANNERS and (not scorer or scorer in SCORERS):
        return f"a class without its module; give it as 'my_module:{name}'"
    hint = did_you_mean(*((head, known) if scorer in SCORERS else (name, _examples())), quotes=True)
    return (
        f"which is no agent.{hint} Agents are PLANNER+LEARNER, PLANNER+greedy, "
        f"PLANNER+belief, PLANNER+mmr, PLANNER+ppo+mmr, PLANNER+sasrec (or another recommender of the next item, with "
        f"or without +mmr, or belief+ before it), flat in a planner's place, "
        f"{', '.join(ALONE)}; planners are {', '.join(PLANNERS)}; learners are "
        f"{', '.join(LEARNERS)}, and {RETURN} may follow {', '.join(returning_learners())}. "
        "Your own class is given with its module: 'my_module:MyPlanner+ppo', "
        "'my_module:MyAgent'."
    )


def _examples() -> list[str]:
    planned = [f"{planner}+{scorer}" for planner in (*PLANNERS, "planner", "flat") for scorer in SCORERS]
    refused = {f"flat+{one}" for one in (ABOVE_BELIEF, *BY_BELIEF, *COMPOSITE)}
    return [*(name for name in planned if name not in refused), *ALONE]


def parse_agents(config: Config) -> list[AgentSpec]:
    """The agents of a recipe in its order, each once.

    Raises:
        PluginError: a name stands for nothing, there is none, two plug-ins would go by one name in tables and files, or
            auto has nothing to choose from.
    """
    specs = list(dict.fromkeys(parse_agent(name, config.planner.name) for name in config.agents))
    if not specs:
        raise PluginError("agents is empty; name at least one, such as [planner+ppo, flat+ppo, random]")
    owner: dict[str, str] = {name: name for name in (*PLANNERS, *BASELINES, *IN_SESSIONS, AUTO, "flat")}
    chosen_from = candidates(config) if any(spec.baseline == AUTO for spec in specs) else []
    for spec in [*specs, *chosen_from]:
        plugin = spec.planner or spec.baseline
        if plugin is not None and owner.setdefault(plugin.rpartition(":")[2], plugin) != plugin:
            short = plugin.rpartition(":")[2]
            raise PluginError(f"agents names {plugin!r}, but {owner[short]!r} goes by {short!r} too; rename the class")
    return specs


def candidates(config: Config) -> list[AgentSpec]:
    """What `auto` chooses from: what auto.candidates names, or else the other agents of the recipe.

    Of the latter without floors, without agents that are told or may read what is hidden, and without those that a chat
    model plans, which cost money.

    Raises:
        PluginError: a name stands for nothing that can be chosen, or there is none.
    """
    named = config.auto.candidates
    found = list(dict.fromkeys(parse_agent(name, config.planner.name) for name in named or config.agents))
    for spec in found if named else []:
        if spec.baseline == AUTO or _told(spec):
            raise PluginError(
                f"auto.candidates names {spec.label!r}, which cannot be chosen: {', '.join((AUTO, *TOLD))}"
            )
    if not named:
        found = [
            spec
            for spec in found
            if spec.baseline not in (AUTO, *FLOORS) and spec.planner not in MODELS and not _told(spec)
        ]
    if not found:
        raise PluginError(
            "auto has nothing to choose from; name agents under auto.candidates, such as [belief+greedy, flat+ppo]"
        )
    return found


def _told(spec: AgentSpec) -> bool:
    """Whether an agent is told, or may read, what nobody knows of users."""
    if spec.baseline is None or ":" not in spec.baseline:
        return spec.baseline in TOLD
    made = load_plugin(spec.baseline, "agents", _examples(), ("begin", "act"))
    return getattr(made, "watch", Agent.watch) is not Agent.watch


def needed_agents(config: Config) -> list[AgentSpec]:
    """The agents of a recipe, and those that `auto` chooses from, each once."""
    specs = parse_agents(config)
    chosen_from = candidates(config) if any(spec.baseline == AUTO for spec in specs) else []
    return list(dict.fromkeys([*specs, *chosen_from]))


def ineffective(config: Config, given: Iterable[str]) -> dict[str, str]:
    """The given keys that have no effect because of other settings, and why."""
    specs, data, env, planner = needed_agents(config), config.data, config.env, config.planner
    off_policy = any(spec.learner is not None and LEARNERS[spec.learner].off_policy for spec in specs)
    planned = any(spec.planner is not None for spec in specs)
    chat_model = any(spec.planner in MODELS for spec in specs)
    returns = data.returns == "fitted" and env.horizon == "days"
    reasons = {
        "data.synthetic.": "data.path is given" if data.path is not None else "",
        **{f"env.{part}.": "data.users is fitted" if data.users == "fitted" else "" for part in FITTED_PARTS},
        **{f"env.return_.{part}.": "data.returns is fitted" if returns else "" for part in FITTED_RETURNS},
        **dict.fromkeys(
            ("env.days", "env.return_.", "data.returns"), "env.horizon is session" if env.horizon == "session" else ""
        ),
        "env.topic_count": f"env.topics is {env.topics}" if env.topics != "hidden" else "",
        **{
            f"env.leave.{rule}.": f"env.leave.rule is {env.leave.rule}" if env.leave.rule != rule else ""
            for rule in ("satisfaction", "window", "budget")
        },
        "planner.clusters": f"planner.axis is {planner.axis}" if planner.axis == "categories" else "",
        **dict.fromkeys(PLANNED, "" if planned else "none of agents has a planner"),
        "planner.name": "" if any("planner+" in name for name in config.agents) else "none of agents is planner+...",
        **dict.fromkeys(CHAT, "" if chat_model else "none of agents is planned by a chat model"),
        "auto.": "" if any(spec.baseline == AUTO for spec in specs) else "auto is none of agents",
        "train.off_policy.": "" if off_policy else "none of agents learns with a replay buffer",
        "train.returning.": "" if any(spec.returns for spec in specs) else f"none of agents ends in {RETURN}",
    }
    return {
        name: why
        for name in given
        for start, why in reasons.items()
        if why and name.startswith(start) and name not in UNFITTED
    }

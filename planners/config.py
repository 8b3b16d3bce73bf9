"""Settings of planners, and of the chat model behind one."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lerl.envs.checks import within


@dataclass(frozen=True)
class BudgetConfig:
    """What a chat model may cost in one run; beyond, planner.fallback plans.

    Args:
        calls: requests that are sent, retries and repairs included; no limit when none.
        tokens: tokens of questions and answers, as the endpoint counts them, or estimated at four characters a token
            where it does not; what is under way counts as if answered at length. No limit when none.
        money: in the currency of planner.price, for these tokens; no limit when none.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        within("planner.budget", 0, calls=self.calls, tokens=self.tokens, money=self.money)


@dataclass(frozen=True)
class PriceConfig:
    """What the chat model's endpoint asks for a million tokens, for costs and planner.budget.money.

    Args:
        input: for questions, in the currency of planner.budget.money; 0 for nothing.
        output: for answers, in the same.
    """

    input: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        within("planner.price", 0, input=self.input, output=self.output)


@dataclass(frozen=True)
class PlannerConfig:
    """The category planner.

    Args:
        name: what the rows "planner+ppo" and "planner+greedy" stand for: random, round_robin, greedy, boredom,
            rotation, blind, llm, distilled, or your own as "my_package.my_module:MyPlanner".
        axis: what is planned: "categories" of the catalogue, or "clusters" of the agents' item vectors.
        clusters: how many clusters.
        size: how many categories a plan allows.
        replan_every: steps a plan is kept.
        replan_below: a plan is replaced before that when the last slate brought less than this share of the clicks that
            known history promised; 0 for never.
        avoidance: whether what a plan says to avoid is kept away; without, it is what it allows.
        sessions: training sessions that a planner which learns from whole sessions is given before a policy is trained
            under it, in two lots (rotation: three); their steps are taken off the row's training steps. 0, or at least
            2; fewer where so many could take more than three quarters of train.steps, at env.max_steps each.
        model: the chat model behind llm, as PROVIDER:NAME; keys come from the environment alone. scripted:expert is
            none: a rule that reads the questions and answers at no cost.
        base_url: its endpoint where it is not the provider's own, as http://HOST:PORT/v1.
        temperature: of its answers, from 0; none to send none, as some models refuse it.
        answer_tokens: most tokens of an answer; models that think before they answer need some thousand.
        timeout: seconds that one question may take once its turn has come, retries and a repair included.
        concurrency: questions that are under way at once.
        fallback: the rule that plans where the model gives no usable answer.
        prompts: folder with plan.txt or reflect.txt of your own in place of lerl's.
        detail: what of a session a question says: "full", or "coarse" for fewer different questions.
        candidates: categories that a question offers, the most liked and those shown of late; all when none.
        reflections: sessions of each lot that reflections are written on.
        pool: reflections to begin with: an earlier run's folder, or its planners/pool.json.
        cache: file in which answers are kept across runs, besides the run's own.
        replay: a run whose recorded answers are used in the model's place; no endpoint is asked.
        distilled: the run, or the file, that lerl distill wrote, for the planner distilled.
        refresh: states that distilled asks the model about in each lot of sessions, where it is unsure; 0 asks none.
        budget: what the model may cost.
        price: what its tokens cost.
    """

    name: str = "boredom"
    axis: str = "categories"
    clusters: int = 40
    size: int = 6
    replan_every: int = 1
    replan_below: float = 0.0
    avoidance: bool = True
    sessions: int = 3000
    model: str | None = None
    base_url: str | None = None
    temperature: float | None = 0.0
    answer_tokens: int = 600
    timeout: float = 30.0
    concurrency: int = 8
    fallback: str = "boredom"
    prompts: str | None = None
    detail: str = "full"
    candidates: int | None = None
    reflections: int = 50
    pool: str | None = None
    cache: str | None = None
    replay: str | None = None
    distilled: str | None = None
    refresh: int = 0
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    price: PriceConfig = field(default_factory=PriceConfig)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("axis", ("categories", "clusters")),
            ("detail", ("full", "coarse")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"planner.{name} must be {allowed[0]!r} or {allowed[1]!r}, given {getattr(self, name)!r}"
                )
        within("planner", 1, clusters=self.clusters, size=self.size, replan_every=self.replan_every)
        within("planner", 1, concurrency=self.concurrency, candidates=self.candidates)
        within("planner", 1, answer_tokens=self.answer_tokens)
        within("planner", 0, temperature=self.temperature, reflections=self.reflections, refresh=self.refresh)
        within("planner", 0, replan_below=self.replan_below)
        within("planner", 0.001, timeout=self.timeout)
        if self.sessions != 0:
            within("planner", 2, sessions=self.sessions)
        wrong = _wrong_address(self.base_url)
        if wrong:  # which is not shown, as it may hold a password
            raise ValueError(f"planner.base_url {wrong}; its form is http://HOST:PORT/v1")
        if self.budget.money is not None and not (self.price.input or self.price.output):
            raise ValueError(
                "planner.price is missing, without which planner.budget.money is never spent; give "
                "planner.price.input and planner.price.output, per million tokens"
            )


def _wrong_address(address: str | None) -> str:
    """What is wrong with the address of an endpoint, without a word of it; empty where nothing is."""
    if address is None:
        return ""
    if not address.isascii() or not address.isprintable() or " " in address:
        return "holds a blank, or a character beyond ASCII"
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "has a host or a port that cannot be read"
    if "@" in parts.netloc or "?" in address or "#" in address:
        return (
            "holds a user, a query or a fragment, which would be written with the run, passwords included (keys are "
            "read from the environment, as OPENAI_API_KEY)"
        )
    if parts.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    return "names no host" if not host or port == 0 else ""

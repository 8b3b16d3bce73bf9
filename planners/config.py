"""Settings of planners, and of the chat model behind one."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from lerl.envs.checks import Real, Switch, Text, Whole, settings

UpTo10000 = Annotated[Whole, Field(ge=1, le=10_000)]
Price = Annotated[Real, Field(ge=0, le=1_000_000)]


@settings(frozen=True)
class BudgetConfig:
    """What a chat model may cost in one run; when that is used up, planner.fallback plans.

    Args:
        calls: requests that are sent, retries and repairs included; null for no limit.
        tokens: tokens of prompts and answers, as the endpoint counts them, or estimated at four characters a token
            where it does not; prompts not answered yet count with planner.answer_tokens. Null for no limit.
        money: in the currency of planner.price, for these tokens; null for no limit.
    """

    SECTION: ClassVar[str] = "planner.budget"

    calls: Annotated[Whole, Field(ge=0, le=1_000_000_000)] | None = None
    tokens: Annotated[Whole, Field(ge=0, le=1_000_000_000_000)] | None = None
    money: Annotated[Real, Field(ge=0, le=1_000_000)] | None = None


@settings(frozen=True)
class PriceConfig:
    """What the chat model's endpoint charges for a million tokens, for costs and planner.budget.money.

    Args:
        input: for prompts, in the currency of planner.budget.money; 0 for nothing.
        output: for answers, in the same.
    """

    SECTION: ClassVar[str] = "planner.price"

    input: Price = 0.0
    output: Price = 0.0


@settings(frozen=True)
class PlannerConfig:
    """The category planner.

    Args:
        name: the planner of the agents "planner+ppo" and "planner+greedy": random, round_robin, greedy, boredom,
            rotation, blind, llm, distilled, or your own as "my_package.my_module:MyPlanner".
        axis: what is planned: "categories" of the catalog, "clusters" of the agents' item vectors, "codes", groups of
            items whose titles and categories are alike (the first digits of tiger's codes, fewer of them), or
            "learned", the topics that training sessions show to bore (what belief+greedy learns; fitted once, before
            any agent).
        clusters: how many clusters, or groups of axis codes; the first of those sessions are planned on them under
            axis learned.
        size: how many categories a plan allows.
        replan_every: steps a plan is kept.
        replan_below: a plan is replaced before that when the last slate got less than this share of the clicks that
            the history up to then predicted; 0 for never.
        avoidance: whether the categories that a plan says to avoid are left out; if not, only those it allows count.
        sessions: training sessions that a planner which learns from whole sessions is given before a policy is trained
            under it, in two rounds (rotation: three); their steps count towards train.steps. 0, or at least 2;
            fewer are used if they could take more than three quarters of train.steps, at env.max_steps each.
        model: the chat model behind llm, as PROVIDER:NAME; API keys are read from the environment only.
            scripted:expert is no model, but a rule that reads the prompts and answers at no cost.
        base_url: address of its endpoint, if it is not the provider's own, as http://HOST:PORT/v1.
        temperature: temperature of its answers; null to send none, as some models refuse it.
        answer_tokens: largest number of tokens of an answer; reasoning models need some thousand.
        timeout: seconds that one prompt may take, retries and a repair included, without its time in the queue.
        concurrency: prompts sent at the same time.
        fallback: the rule that plans where the model gives no usable answer.
        prompts: folder with your own plan.txt or reflect.txt, used instead of lerl's.
        detail: how a prompt describes a session: "full", or "coarse" for fewer different prompts.
        candidates: categories that a prompt offers, those with the highest predicted click rate and those shown of
            late; null for all.
        reflections: number of sessions in each round on which a reflection is written.
        pool: reflections to begin with: an earlier run's folder, or its planners/pool.json.
        cache: file in which answers are kept across runs, besides the run's own.
        replay: a run whose recorded answers are used instead of the model; no endpoint is called.
        distilled: the run, or the file, that lerl distill wrote, for the planner distilled.
        refresh: number of states in each round of sessions about which distilled queries the chat model, those where it
            is least sure; 0 for none.
        budget: what the model may cost.
        price: what its tokens cost.
    """

    SECTION: ClassVar[str] = "planner"

    name: Text = "boredom"
    axis: Literal["categories", "clusters", "codes", "learned"] = "categories"
    clusters: UpTo10000 = 40
    size: UpTo10000 = 6
    replan_every: UpTo10000 = 1
    replan_below: Annotated[Real, Field(ge=0, le=10)] = 0.0
    avoidance: Switch = True
    sessions: Annotated[Whole, Field(ge=0, le=1_000_000)] = 3000
    model: Text | None = None
    base_url: Text | None = None
    temperature: Annotated[Real, Field(ge=0, le=2)] | None = 0.0
    answer_tokens: Annotated[Whole, Field(ge=1, le=200_000)] = 600
    timeout: Annotated[Real, Field(ge=0.001, le=3_600)] = 30.0
    concurrency: Annotated[Whole, Field(ge=1, le=256)] = 8
    fallback: Text = "boredom"
    prompts: Text | None = None
    detail: Literal["full", "coarse"] = "full"
    candidates: UpTo10000 | None = None
    reflections: Annotated[Whole, Field(ge=0, le=10_000)] = 50
    pool: Text | None = None
    cache: Text | None = None
    replay: Text | None = None
    distilled: Text | None = None
    refresh: Annotated[Whole, Field(ge=0, le=100_000)] = 0
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    price: PriceConfig = field(default_factory=PriceConfig)

    def __post_init__(self) -> None:
        if self.sessions == 1:
            raise ValueError("planner.sessions must be 0 or at least 2, given 1")
        if problem := _wrong_address(self.base_url):  # which is not shown, as it may hold a password
            raise ValueError(f"planner.base_url {problem}; its form is http://HOST:PORT/v1")
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

"""HTTP for a recommender: sessions, slates and feedback as JSON, with health, metrics and an OpenAPI description."""

import hmac
import os
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field

import lerl
from lerl.serve.new_items import NewItemError
from lerl.serve.recommender import Recommender, SessionError, UnknownSessionError
from lerl.serve.store import Conflict

TOKEN = "LERL_SERVE_TOKEN"
"""The environment variable with the bearer token; without one, whoever reaches the server may use it."""
MOST_BYTES = 1_000_000
"""Of a request's body."""
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
Id = Annotated[str, Field(min_length=1, max_length=200)]
Key = Annotated[str, Field(max_length=200, pattern=r"^[\w.~-]*[\w~-][\w.~-]*$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Start(_Body):
    """Who begins a session: a user of the log, or somebody with a history, or nobody known."""

    user: Id | None = Field(None, description="a user of the log, by the log's own id")
    history: list[tuple[Id, bool]] = Field([], max_length=10_000, description="for others: items met, clicked or not")
    session: Key | None = Field(None, description="the session's key; made up where none is given")


class Started(BaseModel):
    """A session has begun."""

    session: str
    unknown: list[str] = Field(description="ids of the history that the catalog lacks, which were left out")


class Wish(_Body):
    """What a slate should be like."""

    k: int | None = Field(None, ge=1, description="items; those of the agent's slates where none is given")
    exclude: list[Id] = Field([], max_length=10_000, description="items that must not be shown")


class Slate(BaseModel):
    """Items to show, the first place first."""

    ids: list[str]
    scores: list[float] = Field(description="chance of a click on each, as history before the session predicts it")
    plan: list[str] | None = Field(description="categories that the planner allows; null without a planner")
    rationale: str
    step: int = Field(description="slates that the session was shown before")
    unknown: list[str] = Field(description="ids to exclude that the catalog lacks")


class Feedback(_Body):
    """What was shown, and what came back."""

    ids: list[Id] = Field(min_length=1, max_length=1_000)
    clicks: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1, max_length=1_000)
    step: int | None = Field(None, ge=0, description="as recommend gave it, so that what is sent twice counts once")
    whole: float | None = Field(None, ge=0, le=1, description="on the slate as a whole, where its slots have roles")


class Counted(BaseModel):
    """What became of feedback."""

    step: int = Field(description="slates that the session was shown by now")
    counted_before: bool = Field(description="whether the same had come before, so that this changed nothing")


class Refused(BaseModel):
    """A request that was refused."""

    detail: str = Field(description="what was given, and what is allowed")


class Items(_Body):
    """Items that the catalog lacks, by id: names of categories, or a vector of the agents' item space."""

    items: dict[Id, list[str] | list[float]] = Field(min_length=1, max_length=10_000)


class Pool:
    """Recommenders that share one store; each answers one request at a time.

    Args:
        make: makes one. size: how many.
    """

    def __init__(self, make: Callable[[], Recommender], size: int) -> None:
        self._all = [make() for _ in range(size)]
        self.label = self._all[0].spec.label
        if size == 1:  # a planner that waits for an endpoint is not asked for nobody
            self._all[0].rehearse()
        self._free: queue.SimpleQueue[Recommender] = queue.SimpleQueue()
        for one in self._all:
            self._free.put(one)

    @contextmanager
    def one(self) -> Iterator[Recommender]:
        """One that is free."""
        found = self._free.get()
        try:
            yield found
        finally:
            self._free.put(found)

    def close(self) -> None:
        """Close them all."""
        for one in self._all:
            one.close()


class Metrics:
    """What /metrics says, in the format of Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "lerl_request_seconds", "Time of a request", ["path", "status"], registry=self.registry, buckets=SECONDS
        )
        self.items = Counter("lerl_items_total", "Items recommended", registry=self.registry)
        self.clicks = Counter("lerl_feedback_total", "Sum of the feedback on items shown", registry=self.registry)
        self.shown = Counter("lerl_shown_total", "Items shown", registry=self.registry)


def make_app(make: Callable[[], Recommender], size: int = 1, token: str | None = None) -> FastAPI:
    """The application.

    Args:
        make: makes a recommender; called when the server starts. size: how many answer side by side, more than one
            where planners wait for an endpoint. token: that requests need; from the environment where None.
    """
    token = os.environ.get(TOKEN) if token is None else token
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = Pool(make, size)
        yield
        app.state.pool.close()

    refused: Any = {"4XX": {"model": Refused, "description": "refused, and why"}}
    app = FastAPI(title="lerl", version=lerl.__version__, lifespan=lifespan, redoc_url=None, responses=refused)
    app.middleware("http")(_timed(metrics))
    app.exception_handler(UnknownSessionError)(_answer(404))
    app.exception_handler(SessionError)(_answer(422))
    app.exception_handler(NewItemError)(_answer(422))
    app.exception_handler(Conflict)(_answer(409))
    app.exception_handler(RequestValidationError)(_in_one_line)
    _add_sessions(app, metrics, [Depends(_allowed(token))])

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        """That the server answers, and which agent."""
        return {"status": "ok", "agent": app.state.pool.label, "lerl": lerl.__version__}

    @app.get("/metrics")
    def metrics_page() -> Response:
        """Counts and times of this process, for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_sessions(app: FastAPI, metrics: Metrics, allowed: list[Any]) -> None:
    @app.post("/sessions", status_code=201, dependencies=allowed)
    def start(body: Start | None = None) -> Started:
        """Begin a session; without a body, of somebody of whom nothing is known."""
        who = body or Start.model_validate({})
        with app.state.pool.one() as recommender:
            session = recommender.start(who.user, who.history, who.session)
            return Started(session=session, unknown=recommender.unknown(identifier for identifier, _ in who.history))

    @app.post("/sessions/{session}/recommend", dependencies=allowed)
    def recommend(session: str, body: Wish | None = None) -> Slate:
        """The next slate; asked again before feedback, the same one."""
        wish = body or Wish.model_validate({})
        with app.state.pool.one() as recommender:
            found = recommender.recommend(session, wish.k, wish.exclude)
        metrics.items.inc(len(found.ids))
        return Slate(**vars(found))

    @app.post("/sessions/{session}/feedback", dependencies=allowed)
    def feedback(session: str, body: Feedback) -> Counted:
        """What was shown, and what came back; with its step, what is sent twice counts once."""
        with app.state.pool.one() as recommender:
            found = recommender.observe(session, body.ids, body.clicks, body.step, body.whole)
        if not found.counted_before:
            metrics.shown.inc(len(body.ids))
            metrics.clicks.inc(sum(body.clicks))
        return Counted(**found._asdict())

    @app.post("/items", status_code=204, dependencies=allowed)
    def add(body: Items) -> None:
        """Add items to the catalog, for all sessions; what is there already as given stays as it is."""
        with app.state.pool.one() as recommender:
            recommender.add_items(body.items)

    @app.delete("/sessions/{session}", status_code=204, dependencies=allowed)
    def end(session: str) -> None:
        """Forget a session."""
        with app.state.pool.one() as recommender:
            recommender.end(session)


def _allowed(token: str | None) -> Callable[[Request], None]:
    def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "give the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    return allowed


def _answer(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def answer(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status)

    return answer


async def _in_one_line(_: Request, error: Any) -> JSONResponse:
    """What does not fit in a request, as one string, as all other refusals are."""
    return JSONResponse({"detail": "; ".join(map(_wrong, error.errors()[:3]))}, 422)


def _wrong(one: dict[str, Any]) -> str:
    """What is wrong with a request, and where: history[0][1]."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in one["loc"][1:])
    if not path or one["type"] == "json_invalid":
        return "the body must be a JSON object, sent with the header content-type: application/json"
    return f"{path.removeprefix('.')}: {one['msg']}"


def _timed(metrics: Metrics) -> Any:
    """Refuse bodies that are too large, and time what is answered."""

    async def timed(request: Request, call: Any) -> Any:
        begun = time.perf_counter()
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > MOST_BYTES:
            return JSONResponse({"detail": f"a body has at most {MOST_BYTES:,} bytes, and says how many"}, 413)
        response = await call(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        metrics.seconds.labels(path, str(response.status_code)).observe(time.perf_counter() - begun)
        return response

    return timed

"""What `lerl serve` serves, in words that every worker process can read, and the application made of it."""

import json
import os
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from fastapi import FastAPI

from lerl.planners.llm.planner import MODELS
from lerl.serve.run import Run
from lerl.serve.server import make_app
from lerl.serve.store import open_store

SERVED = "LERL_SERVED"
"""The environment variable by which worker processes learn what to serve."""
SIDE_BY_SIDE = 16
"""Requests of one process that may wait for a chat model at the same time."""


class Served(NamedTuple):
    """What is served.

    Attributes:
        run: the run's folder. agent: as its table calls it. store: where sessions are kept.
        timeout: seconds that a chat model may take.
    """

    run: str
    agent: str
    store: str
    timeout: float

    def opened(self) -> Run:
        """The run, whose chat model may take as long as is said here."""
        run = Run(self.run, trust=True)  # which was allowed, or not, when the command was given
        run.config = replace(run.config, planner=replace(run.config.planner, timeout=self.timeout))
        return run

    def check(self) -> None:
        """Refuse what cannot be served, before anything listens."""
        self.opened().recommender(self.agent, self.store).close()

    def application(self) -> FastAPI:
        """The application of a process."""
        run = self.opened()
        store = open_store(self.store, run.owner)
        waits = run.chosen(self.agent).planner in MODELS
        return make_app(partial(run.recommender, self.agent, store), SIDE_BY_SIDE if waits else 1)


def application() -> FastAPI:
    """The application of a worker process, as the environment says."""
    return Served(**json.loads(os.environ[SERVED])).application()

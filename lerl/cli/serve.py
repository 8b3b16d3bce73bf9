"""lerl serve."""

import json
import os
from pathlib import Path

from lerl.cli.parser import Parser, UsageError, add_trust, whole_number
from lerl.startup import require

DESCRIPTION = (
    "Serve a trained agent over HTTP: POST /sessions, /sessions/ID/recommend and /sessions/ID/feedback, in the ids of "
    "the log; GET /healthz, /metrics (Prometheus) and /docs (OpenAPI). Requests for sessions and items need a bearer "
    "token where LERL_SERVE_TOKEN is set in the environment, as it must be where --host is not this machine alone."
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run_serve(arguments: list[str]) -> None:
    """lerl serve"""
    parser = Parser("lerl serve", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    parser.add_argument("--agent", metavar="NAME", help="which agent, as the table calls it (the best that can serve)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=whole_number(0, 65_535), default=8080, help="port to listen on (8080)")
    parser.add_argument(
        "--store", metavar="WHERE", help="where sessions are kept: an SQLite file (RUN/sessions.db), or redis://HOST"
    )
    parser.add_argument("--workers", metavar="N", type=whole_number(1, 64), default=1, help="processes (1)")
    parser.add_argument(
        "--planner-timeout", metavar="SECONDS", type=float, default=2.0,
        help="what a chat model may take for a plan, before the rule plans (2)",
    )  # fmt: skip
    add_trust(parser)
    given = parser.parse_args(arguments)
    require("serve")

    import uvicorn

    from lerl.serve.run import Run
    from lerl.serve.served import SERVED, Served
    from lerl.serve.server import TOKEN
    from lerl.serve.store import without_password

    if given.host not in LOOPBACK and not os.environ.get(TOKEN):
        raise UsageError(f"--host {given.host} can be reached from elsewhere; set {TOKEN} in the environment first")
    if not 0.01 <= given.planner_timeout <= 600:
        raise UsageError(f"--planner-timeout must be from 0.01 to 600 seconds, given {given.planner_timeout:g}")
    run = Run(given.run, given.trust)
    agent = given.agent or run.best_agent()
    store = given.store or str(given.run / "sessions.db")
    served = Served(str(given.run), agent, store, given.planner_timeout)
    served.check()
    print(
        f"serving {agent} of {given.run}, sessions in {without_password(store)}, http://{given.host}:{given.port}/docs",
        flush=True,
    )
    os.environ[SERVED] = json.dumps(served._asdict())
    listening = {"host": given.host, "port": given.port, "workers": given.workers, "timeout_worker_healthcheck": 60}
    uvicorn.run("lerl.serve.served:application", factory=True, access_log=False, log_level="warning", **listening)

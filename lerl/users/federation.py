"""A real federation on one machine: this process is the server, and client processes speak gRPC with it, by Flower.

Each client process holds a part of the clients and answers for each of them with a message of its own, the same bytes
as in the simulation; the server adds them up in the same order, and so finds the same numbers. Flower (Beutel et al.,
arXiv 2007.14390) in its line 1.26: later ones speak HTTP in place of gRPC.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import Clients, Device, first_vectors
from lerl.agents.federated.fit import Federated, Plan, Rounds, upload
from lerl.agents.federated.messages import Download

LARGEST = 1 << 30
"""Bytes of a gRPC message, at most: all uploads of a client process in a round."""

PATIENCE = 120.0
"""Seconds, at most, until all client processes have come."""

TELEMETRY = "FLWR_TELEMETRY_ENABLED"


def federate(
    folder: Path,
    clients: Clients,
    text: NDArray[np.float32] | None,
    plan: Plan,
    processes: int,
    report: Callable[[int], object],
) -> Federated:
    """Learn items' vectors as `fit_federated` does, from client processes; a process that ends is done without.

    Args:
        folder: the prepared folder, from which each process reads its part of the clients.
        clients: all of them; only their number and that of items are used here.
        text, plan, report: see `fit_federated`. processes: how many client processes there are.

    Raises:
        ValueError: Flower is not there, processes did not come, or their messages would be too large.
    """
    os.environ.setdefault(TELEMETRY, "0")
    try:
        import flwr
    except ImportError as error:
        raise ValueError(
            "--processes needs Flower: pip install 'lerl-rec[train,federated]', in an environment of its own where "
            "its versions do not fit others, or leave --processes out to simulate the same"
        ) from error
    rounds = Rounds(plan, text, clients.catalog)
    parts = np.linspace(0, len(clients), processes + 1).astype(int).tolist()
    address = f"127.0.0.1:{_free_port()}"
    started = [_start(folder, address, parts[n], parts[n + 1], len(clients), plan) for n in range(processes)]
    strategy = _strategy(rounds, processes, len(clients), report)
    config = flwr.server.ServerConfig(num_rounds=plan.rounds)
    try:
        flwr.server.start_server(
            server_address=address, config=config, strategy=strategy, grpc_max_message_length=LARGEST
        )
    finally:
        for process in started:
            process.terminate()
            process.wait()
    if strategy.done < plan.rounds:
        raise ValueError(
            f"{strategy.done} of {plan.rounds} rounds were done: client processes did not come within {PATIENCE:g} "
            "seconds, or their messages were too large; give fewer codes or other --processes"
        )
    up, down = strategy.up / plan.rounds, strategy.down / plan.rounds
    notes = (*rounds.notes, f"a federation of {processes} client processes that spoke gRPC")
    return Federated(
        rounds.vectors(), rounds.met(), up, down, strategy.refused, strategy.repeated, strategy.missed, notes
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(folder: Path, address: str, first: int, last: int, everybody: int, plan: Plan) -> "subprocess.Popen[bytes]":
    told = json.dumps([str(folder), address, first, last, everybody, asdict(plan)])
    command = [sys.executable, "-m", "lerl.users.federation", told]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _strategy(rounds: Rounds, processes: int, clients: int, report: Callable[[int], object]) -> Any:
    """Flower's view of the server: what to send in a round, and what to do with what comes."""
    from flwr.common import FitIns, Parameters
    from flwr.server.strategy import Strategy

    class Codes(Strategy):  # type: ignore[misc]
        up, down, refused, repeated, missed, done = 0.0, 0, 0, 0, 0, 0

        def initialize_parameters(self, client_manager: Any) -> Any:
            client_manager.wait_for(processes, timeout=PATIENCE)
            return Parameters([], "lerl")

        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            message = rounds.ask().to_bytes()
            self.down += len(message)
            asked = FitIns(Parameters([message], "lerl"), {"round": rounds.round})
            return [(proxy, asked) for proxy in client_manager.all().values()]

        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            done, came = rounds.begin(clients), 0
            for _, result in sorted(results, key=lambda one: int(one[1].metrics["first"])):
                for place, message in enumerate(result.parameters.tensors):
                    done.receive(int(result.metrics["first"]) + place, message)
                    came += 1
            rounds.end(done)
            self.up += done.bytes / max(done.accepted, 1)
            self.refused, self.repeated = self.refused + done.refused, self.repeated + done.repeated
            self.missed += clients - came
            self.done += bool(done.accepted)
            report(server_round)
            return Parameters([], "lerl"), {}

        def configure_evaluate(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            return []

        def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
            return None, {}

        def evaluate(self, server_round: int, parameters: Any) -> Any:
            return None

    return Codes()


def _serve_clients(told: str) -> None:
    """What a client process does: answer for its clients until the server is done."""
    os.environ.setdefault(TELEMETRY, "0")
    from flwr.client import Client, start_client
    from flwr.common import Code, FitRes, Parameters, Status

    from lerl.agents.federated.knowledge import clients_of
    from lerl.envs.store import OWN_LOGS, load_population

    folder, address, first, last, everybody, settings = json.loads(told)
    plan = Plan(**settings | {"channels": tuple(settings["channels"])})
    own = clients_of(load_population(Path(folder), format=OWN_LOGS)).part(first, last)
    device = Device(first_vectors(own.catalog, plan.width, plan.seed))

    class Part(Client):  # type: ignore[misc]
        def fit(self, ins: Any) -> Any:
            shared = device.receive(Download.from_bytes(ins.parameters.tensors[0]))
            number = int(ins.config["round"])
            sent = [
                upload(own, client, shared, plan, number, everybody, first + client).to_bytes()
                for client in range(len(own))
            ]
            return FitRes(Status(Code.OK, ""), Parameters(sent, "lerl"), 1, {"first": first})

    start_client(server_address=address, client=Part(), grpc_max_message_length=LARGEST, insecure=True)


if __name__ == "__main__":
    _serve_clients(sys.argv[1])

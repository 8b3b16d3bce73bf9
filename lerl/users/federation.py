"""A real federation on one machine: this process is the server, and client processes speak gRPC with it, by Flower.

It shows the protocol and protects nobody: every process, the server's too, could read the whole folder. The server
gives each connection a part of the clients, and takes what comes through it for messages of these. A process answers
for each of its clients with a message of its own, the same bytes as in the simulation (but for noise); the server adds
them up in the same order, and so finds the same numbers. Flower (Beutel et al.,
arXiv 2007.14390) in its line 1.26: later ones speak HTTP in place of gRPC.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import Clients, Device, first_vectors
from lerl.agents.federated.fit import Federated, Plan, Rounds, upload
from lerl.agents.federated.messages import Download
from lerl.agents.federated.server import Round

LARGEST = 1 << 30
"""Bytes of a gRPC message, at most: all uploads of a client process in a round."""

PATIENCE = 120.0
"""Seconds, at most, until all client processes have come."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What Flower colours its lines with."""

TELEMETRY = "FLWR_TELEMETRY_ENABLED"


class Process(NamedTuple):
    """A client process and the file that its standard error goes to."""

    running: "subprocess.Popen[bytes]"
    errors: IO[bytes]


class Parts:
    """Which clients are behind which connection: the server deals parts out, and clients do not say who they are.

    Args:
        clients: how many there are. parts: how many connections they are dealt to.
    """

    def __init__(self, clients: int, parts: int) -> None:
        ends = np.linspace(0, clients, parts + 1).astype(int).tolist()
        self._free: list[tuple[int, int]] = list(pairwise(ends))
        self._dealt = dict[str, tuple[int, int]]()

    def of(self, connection: str) -> tuple[int, int]:
        """The first client of a connection's part, and the one behind the last; of one too many, none."""
        if connection not in self._dealt:
            self._dealt[connection] = self._free.pop(0) if self._free else (0, 0)
        return self._dealt[connection]

    def receive(self, done: Round, came: Sequence[tuple[str, Sequence[bytes]]]) -> int:
        """Take messages by connection, in the order of clients; how many clients sent none.

        The n-th message of a connection is that of its n-th client; those behind its last are refused.
        """
        missed = sum(last - first for first, last in [*self._dealt.values(), *self._free])
        for connection, messages in sorted(came, key=lambda one: self.of(one[0])):
            first, last = self.of(connection)
            for sender, message in zip(range(first, last), messages, strict=False):
                done.receive(sender, message)
                missed -= 1
            done.refused += max(0, len(messages) - (last - first))
        return missed


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
        folder: the prepared folder, which each process reads, to answer for its part of the clients.
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
    address = f"127.0.0.1:{_free_port()}"
    started = [_start(folder, address, plan) for _ in range(processes)]
    strategy = _strategy(rounds, processes, len(clients), report)
    config = flwr.server.ServerConfig(num_rounds=plan.rounds)
    try:
        flwr.server.start_server(
            server_address=address, config=config, strategy=strategy, grpc_max_message_length=LARGEST
        )
    finally:
        failed = _end(started)
    if strategy.done < plan.rounds:
        raise ValueError(
            f"{strategy.done} of {plan.rounds} rounds were done: client processes did not come within {PATIENCE:g} "
            "seconds, or their messages were too large; give fewer codes or other --processes"
            + "".join(f"; {line}" for line in failed)
        )
    up, down = strategy.up / plan.rounds, strategy.down / plan.rounds
    more = failed if strategy.missed else []
    notes = (*rounds.notes, f"a federation of {processes} client processes that spoke gRPC", *more)
    return Federated(
        rounds.vectors(), rounds.met(), up, down, strategy.refused, strategy.repeated, strategy.missed, notes
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(folder: Path, address: str, plan: Plan) -> Process:
    told = json.dumps([str(folder), address, asdict(plan)])
    command = [sys.executable, "-m", "lerl.users.federation", told]
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
    return Process(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors), errors)


def _end(started: list[Process]) -> list[str]:
    """End client processes; a line for each that had failed before, with the last that it wrote."""
    found = list[str]()
    for number, (process, errors) in enumerate(started, 1):
        if process.poll():
            errors.seek(0)
            lines = COLOUR.sub("", errors.read().decode(errors="replace")).split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            found.append(f"client process {number} failed with exit {process.returncode}, and wrote at last: {last}")
        process.terminate()
        process.wait()
        errors.close()
    return found


def _strategy(rounds: Rounds, processes: int, clients: int, report: Callable[[int], object]) -> Any:
    """Flower's view of the server: what to send in a round, and what to do with what comes."""
    from flwr.common import FitIns, Parameters
    from flwr.server.strategy import Strategy

    parts = Parts(clients, processes)

    class Codes(Strategy):  # type: ignore[misc]
        up, down, refused, repeated, missed, done = 0.0, 0, 0, 0, 0, 0

        def initialize_parameters(self, client_manager: Any) -> Any:
            client_manager.wait_for(processes, timeout=PATIENCE)
            return Parameters([], "lerl")

        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            message = rounds.ask().to_bytes()
            self.down += len(message)
            asked = list[Any]()
            for proxy in client_manager.all().values():
                first, last = parts.of(proxy.cid)  # which the server gave to the connection
                config = {"round": rounds.round, "first": first, "last": last}
                asked.append((proxy, FitIns(Parameters([message], "lerl"), config)))
            return asked

        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            done = rounds.begin(clients)
            self.missed += parts.receive(done, [(proxy.cid, result.parameters.tensors) for proxy, result in results])
            rounds.end(done)
            self.up += done.bytes / max(done.accepted, 1)
            self.refused, self.repeated = self.refused + done.refused, self.repeated + done.repeated
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

    folder, address, settings = json.loads(told)
    plan = Plan(**settings | {"channels": tuple(settings["channels"])})
    clients = clients_of(load_population(Path(folder), format=OWN_LOGS))
    device = Device(first_vectors(clients.catalog, plan.width, plan.seed))

    class Part(Client):  # type: ignore[misc]
        def fit(self, ins: Any) -> Any:
            shared = device.receive(Download.from_bytes(ins.parameters.tensors[0]))
            number, first, last = (int(ins.config[name]) for name in ("round", "first", "last"))
            sent = [upload(clients, client, shared, plan, number).to_bytes() for client in range(first, last)]
            return FitRes(Status(Code.OK, ""), Parameters(sent, "lerl"), 1, {})

    start_client(server_address=address, client=Part(), grpc_max_message_length=LARGEST, insecure=True)


if __name__ == "__main__":
    _serve_clients(sys.argv[1])

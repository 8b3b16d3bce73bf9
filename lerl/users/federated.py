"""`lerl fit --knowledge federated`: what agents know of items, learned from clients that keep their logs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.fit import Federated, Plan, fit_federated
from lerl.agents.federated.knowledge import clients_of, learned
from lerl.agents.federated.privacy import epsilon
from lerl.envs.population import Population
from lerl.envs.prepare import directions
from lerl.envs.store import DYNAMICS_FILE, KNOWLEDGE_FILE, OWN_LOGS, load_population, read_about
from lerl.envs.texts import text_vectors
from lerl.run.locks import locked
from lerl.users.next_command import train_command

Report = Callable[[str, int, int, str | None], None]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FederatedFit:
    """What `fit_knowledge` did: notes, one line each, the file that was written, and figures for programs."""

    notes: tuple[str, ...]
    file: Path
    about: dict[str, Any]


def texts_of(population: Population) -> tuple[Floats | None, tuple[str, ...]]:
    """(I, d) float32 vectors of items' titles and categories, None where these hold no words; and notes."""
    axis = population.catalog.categories
    categories = [" ".join(axis.names[place] for place in np.flatnonzero(row)) for row in axis.membership]
    try:
        found = text_vectors({"title": population.catalog.titles, "categories": categories})
    except ValueError:
        return None, ()
    return found.vectors, found.notes


def fit_knowledge(folder: Path, plan: Plan, *, processes: int = 0, report: Report | None = None) -> FederatedFit:
    """Learn item vectors in rounds from a prepared folder's training users, and write them beside its data.

    Args:
        folder: as `lerl data prepare` or `import` left it. plan: of the federation.
        processes: client processes that speak gRPC through Flower; 0 to simulate all in this process, with the same
            numbers. report: called with progress.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        ClientError: no training user has an interaction.
        ValueError: the codes do not fit the items.
        RunError: another process is at work in the folder.
    """
    read_about(folder, OWN_LOGS)  # so that no lock is left where there is no data set
    with locked(folder):
        population = load_population(folder, format=OWN_LOGS)
        text, notes = texts_of(population)
        clients = clients_of(population)

        def said(done: int) -> None:
            if report is not None:
                report("round", done, plan.rounds, None)

        if processes:
            from lerl.users.federation import federate

            found = federate(folder, clients, text, plan, processes, said)
        else:
            found = fit_federated(clients, text, plan, report=said)
        about = _about(plan, found, len(clients), len(population.catalog))
        learned(found, population, about).save(folder / KNOWLEDGE_FILE)
    train = train_command(folder, len(population.catalog), directions(population))
    users = "" if (folder / DYNAMICS_FILE).is_file() else " --data.users assumed"
    more = (*notes, *found.notes, *_lines(about), f"train on it with: {train} --data.knowledge federated{users}")
    return FederatedFit(more, folder / KNOWLEDGE_FILE, about)


def _about(plan: Plan, found: Federated, clients: int, items: int) -> dict[str, Any]:
    """How it was made, and what it cost."""
    delta = 1 / (10 * clients)
    holds = not found.missed and not found.refused and plan.robust == "mean"
    private = {"epsilon": epsilon(plan.noise, plan.rounds, delta) if holds else None, "delta": delta}
    return {
        "clients": clients,
        "rounds": plan.rounds,
        "codes": f"{plan.levels}x{plan.size}",
        "mode": plan.mode,
        "seed": plan.seed,
        "upload_bytes": found.upload,
        "download_bytes": found.download,
        "dense_upload_bytes": 12 + 4 * items * (plan.width + 2),
        "refused": found.refused,
        "missed": found.missed,
        "repeated": found.repeated,
        **(private if plan.noise else {}),
    }


def _lines(about: dict[str, Any]) -> list[str]:
    """What people should know of it, a line each."""
    share = about["upload_bytes"] / about["dense_upload_bytes"]
    lines = [
        f"{about['clients']:,} clients, {about['rounds']:,} rounds: each sent {about['upload_bytes']:,.0f} bytes a "
        f"round ({share:.1%} of a row for each item) and got {about['download_bytes']:,.0f}"
    ]
    if any(about[name] for name in ("refused", "missed", "repeated")):
        lines.append(
            f"messages refused {about['refused']:,}, never came {about['missed']:,}, sent twice {about['repeated']:,}"
        )
    if "epsilon" in about:
        lines.append(_epsilon_line(about))
        lines.append("noise was drawn from the system's randomness: the same command gives other numbers next time")
    return lines


def _epsilon_line(about: dict[str, Any]) -> str:
    if lost := about["missed"] + about["refused"]:
        return f"no epsilon: {lost:,} messages are missing, and with them their share of the noise in a round's sum"
    if about["epsilon"] is None:
        return "no epsilon: only --robust mean needs no more than sums of uploads; the others look at each upload"
    return (
        f"epsilon {about['epsilon']:.2f} at delta {about['delta']:.1e}, of each client against whoever sees sums of "
        "all uploads alone; against the server, which sees each upload, it is larger; the scale of log-odds, found at "
        "the end without noise, is not covered"
    )

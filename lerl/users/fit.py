"""`lerl fit`: models of users fitted to a prepared folder's log, judged on held-out users."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lerl.envs.fitting.dynamics import estimate_lines, fit_dynamics, write_fitted
from lerl.envs.population import Population
from lerl.envs.prepare import directions
from lerl.envs.sequence_weights import learned, write_learned
from lerl.envs.store import CALIBRATIONS, CHECKPOINT_FILE, OWN_LOGS, RESPONSE_FILE, load_population, read_about
from lerl.run.locks import locked
from lerl.users.baselines import boosted_baseline, means_baseline
from lerl.users.evaluate import REFERENCE, Judgement, as_json, draw, judge
from lerl.users.events import Events, read_events
from lerl.users.fidelity import Log
from lerl.users.next_command import train_command

MODELS = ("latent", "sequence")
Report = Callable[[str, int, int, str | None], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedUsers:
    """What `fit_users` did.

    Attributes:
        model: "latent" or "sequence". name: of the data set. judgement: on held-out users.
        epochs: log loss of the training users set aside after each epoch; none for "latent".
        notes: what to know about it, one line each.
        files: what was written.
    """

    model: str
    name: str
    judgement: Judgement
    epochs: tuple[float, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    def json(self) -> str:
        """All of it, for programs."""
        more = {
            "data": self.name,
            "log_loss_by_epoch": list(self.epochs),
            "notes": list(self.notes),
            "files": [str(file) for file in self.files],
        }
        return as_json(self.judgement, more)


def fit_users(
    folder: Path,
    model: str,
    *,
    seed: int = 0,
    epochs: int | None = None,
    dynamics: bool = False,
    report: Report | None = None,
) -> FittedUsers:
    """Fit a model of users to the truth half of a prepared folder's log, and judge it on the users held out.

    "sequence" writes response.npz into the folder, which `env.response: sequence` simulates; what was interrupted goes
    on where it was. "latent" judges what the folder was prepared with; with `dynamics` it writes dynamics.json, how
    people get bored, drift and differ, for both kinds of topics, which `data.users: fitted` simulates. Both draw
    calibration-MODEL.png and .svg there.

    Args:
        folder: as `lerl data prepare` or `import` left it.
        model: one of `MODELS`.
        seed: of the network's first weights and its training.
        epochs: at most so many; the settings' own where None.
        dynamics: whether to fit those; of the latent-factor model only.
        report: called with progress.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: its log has no order, or is damaged.
        ValueError: the model is none of these, or the log is too small.
        RunError: another process is at work in the folder.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, given {model!r}")
    if dynamics and model != "latent":
        raise ValueError("dynamics are fitted to the latent-factor model only: give --model latent with --dynamics")
    read_about(folder, OWN_LOGS)  # so that no lock is left where there is no data set
    with locked(folder):
        return _fit(folder, model, seed, epochs, dynamics, report)


def _fit(folder: Path, model: str, seed: int, epochs: int | None, dynamics: bool, report: Report | None) -> FittedUsers:
    population = load_population(folder, format=OWN_LOGS)
    events = read_events(folder, population)
    losses: tuple[float, ...] = ()
    notes: tuple[str, ...]
    files: list[Path] = []
    if model == "latent":
        chances, judged = _latent(population, events)
        hidden, notes = None, (_LATENT_NOTE,)
    else:
        chances, unmet, losses = _sequence(folder, population, events, seed, epochs, report)
        judged, notes = ~events.to_train, (_next_command(folder, population),)
        files.append(folder / RESPONSE_FILE)
        hidden = {**_baselines(events, hidden=True), model: unmet}
    if report is not None:
        report("judge", 0, 1, None)
    judgement = judge(events, judged, {**_baselines(events), model: chances}, hidden)
    if report is not None:
        report("judge", 1, 1, None)
    if dynamics:
        found, path = _dynamics(folder, seed, report)
        notes, files = (*notes, *found), [*files, path]
    title = f"{population.name}: {judgement.groups[0].events:,} events of held-out users"
    files += draw(judgement, title, folder / CALIBRATIONS[MODELS.index(model)])
    return FittedUsers(model, population.name, judgement, losses, notes, tuple(files))


def _dynamics(folder: Path, seed: int, report: Report | None) -> tuple[list[str], Path]:
    """What was found, one line for each parameter, and the file that it is kept in."""
    log = Log.load(folder)
    dim = log.population.truth.item_vectors.shape[1]
    found = []
    for topics in ("categories", "hidden"):

        def say(line: str, topics: str = topics) -> None:
            if report is not None:
                report(f"dynamics, topics {topics}", 0, 1, line.removeprefix("dynamics: "))

        fitted, _ = fit_dynamics(log.population, log.halves, log.background, topics, dim=dim, seed=seed, report=say)
        found.append(fitted)
    lines = []
    for fitted in found:
        lines += [f"topics {fitted.topics}, in units of one item:", *estimate_lines(fitted.estimates)]
    lines.append(f"train on these users with: {_train(folder, log.population)} --data.users fitted")
    return lines, write_fitted(folder, found)


def _baselines(events: Events, hidden: bool = False) -> dict[str, Floats]:
    return {REFERENCE: means_baseline(events, hidden), "boosted trees": boosted_baseline(events, hidden)}


_LATENT_NOTE = (
    "judged are the interactions that were kept from the fit; a user's taste is from the others, later ones among them"
)


def _next_command(folder: Path, population: Population) -> str:
    train = _train(folder, population)
    return f"simulate with it: {train} --data.users assumed --env.response sequence --env.drift.enabled false"


def _train(folder: Path, population: Population) -> str:
    return train_command(folder, len(population.catalog), directions(population))


def _latent(population: Population, events: Events) -> tuple[Floats, NDArray[np.bool_]]:
    """Chances by the latent-factor model, and held-out users' events that it was not fitted to."""
    truth, users, items = population.truth, events.users, events.items
    products = np.einsum("nd,nd->n", truth.user_vectors[users], truth.item_vectors[items], dtype=np.float64)
    log_odds = products + truth.item_offsets[items] + truth.user_offsets[users]
    return expit(log_odds), ~events.to_train & events.kept


def _sequence(
    folder: Path, population: Population, events: Events, seed: int, epochs: int | None, report: Report | None
) -> tuple[Floats, Floats, tuple[float, ...]]:
    """Chances by a sequence model, trained and written into the folder, with items hidden too; its log losses."""
    from lerl.users.train_sequence import SequenceSettings, export, fit_sequence, log_odds

    settings = SequenceSettings() if epochs is None else replace(SequenceSettings(), epochs=epochs)
    checkpoint = folder / CHECKPOINT_FILE
    fitted = fit_sequence(events, settings, seed=seed, checkpoint=checkpoint, report=report)
    about = {"seed": seed, "epochs": len(fitted.log_loss), "best_epoch": fitted.best, "log_loss": fitted.log_loss}
    response = learned(export(fitted, events), about)
    replace(population, response=response)  # refuses what could not be read back
    write_learned(folder / RESPONSE_FILE, response)
    checkpoint.unlink(missing_ok=True)
    held_out = np.flatnonzero(~events.training)
    seen, unmet = (log_odds(fitted, events, held_out, hidden) for hidden in (False, True))
    return expit(seen), expit(unmet), fitted.log_loss

"""How well a learned model of people and items predicts sessions of a policy that it was not fitted to."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.filter import TrainingSessions, believed
from lerl.agents.belief.model import UserModel

Floats = NDArray[np.float64]


class Check(NamedTuple):
    """One row: what models said of sessions before they learned from them.

    Attributes:
        sessions: how many were predicted.
        learned, known: log loss in nats per answer, of what was learned so far and of what was known before training.
        constant: log loss of the mean feedback of the sessions so far.
        learned_off, known_off: expected calibration error, see `lerl.envs.fitting.latent.calibration_error`.
    """

    sessions: int
    learned: float
    known: float
    constant: float
    learned_off: float
    known_off: float

    def words(self) -> str:
        """In half a line."""
        return f"log loss {self.learned:.3f} (known before {self.known:.3f}, a constant {self.constant:.3f})"


def check_belief(model: UserModel, known: UserModel, past: TrainingSessions, new: TrainingSessions) -> Check:
    """How a model that was fitted to `past`, and `known`, predict new sessions, each answer from those before it.

    The sessions of each round are played by a policy of their own, so this is a check off policy.
    """
    answers, mean = new.feedback[new.items >= 0].astype(np.float64), past.feedback[past.items >= 0].mean()
    learned, learned_off = _score(model, new, answers)
    before, known_off = _score(known, new, answers)
    constant = _log_loss(np.full(len(answers), np.log(mean / (1 - mean)) if 0 < mean < 1 else 0.0), answers)
    return Check(len(new.homes), learned, before, constant, learned_off, known_off)


def check_table(checks: list[Check]) -> str:
    """A table of checks in Markdown, a row per round."""
    lines = [
        "Each round's sessions, predicted before anything was learned from them; another policy played those before.",
        "",
        "| sessions | log loss, learned | known before | constant | calibration error, learned | known before |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {row.sessions:,} | " + " | ".join(f"{number:.4f}" for number in row[1:]) + " |" for row in checks]
    return "\n".join(lines) + "\n"


def _score(model: UserModel, sessions: TrainingSessions, answers: Floats) -> tuple[float, float]:
    from lerl.envs.fitting.latent import calibration_error  # takes long to import

    z = believed(model, sessions)[1][sessions.items >= 0].astype(np.float64)
    return _log_loss(z, answers), calibration_error(answers, 1 / (1 + np.exp(-z)))  # type: ignore[arg-type]


def _log_loss(z: Floats, answers: Floats) -> float:
    return float((np.logaddexp(0, z) - answers * z).mean())

"""MLflow, Weights & Biases and TensorBoard as trackers; keys and addresses come from the environment, as each reads it.

Learning curves are curve/AGENT/METRIC by user-steps, the table is table/AGENT/METRIC with METRIC_low and METRIC_high.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lerl.report.bootstrap import Summary
from lerl.run.track import Tracker, metric_name, table_values

BATCH = 100
"""Parameters that MLflow takes at once."""


class MLflowTracker(Tracker):
    """A run of MLflow, in the store of MLFLOW_TRACKING_URI and the experiment of MLFLOW_EXPERIMENT_NAME."""

    def begin(self, config: Mapping[str, Any], folder: Path) -> None:
        """Begin a run named as the folder, or go on in the one of `id`; parameters are the configuration."""
        import mlflow

        self._mlflow, self._folder = mlflow, folder
        nested = mlflow.active_run() is not None  # the caller's own, in Python
        run = None
        if self.id is not None:
            with suppress(mlflow.exceptions.MlflowException):  # of another store, or deleted since
                run = mlflow.start_run(run_id=self.id, nested=nested)
        if run is None:
            run = mlflow.start_run(run_name=folder.name, nested=nested)
        self.id = str(run.info.run_id)
        entries = list(config.items())
        for first in range(0, len(entries), BATCH):
            mlflow.log_params(dict(entries[first : first + BATCH]), run_id=self.id)

    def curve(self, agent: str, step: int, values: Mapping[str, float]) -> None:
        """Metrics curve/AGENT/METRIC, whose step is in user-steps."""
        named = {metric_name("curve", agent, name): value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step, run_id=self.id)

    def end(self, summary: Summary, files: Sequence[Path]) -> None:
        """Metrics table/AGENT/METRIC, files as artifacts, and the run is finished."""
        self._mlflow.log_metrics(table_values(summary), run_id=self.id)
        for path in files:
            inside = path.relative_to(self._folder).parent.as_posix()
            self._mlflow.log_artifact(str(path), None if inside == "." else inside, run_id=self.id)
        self._mlflow.end_run("FINISHED")

    def broken_off(self) -> None:
        """The run is killed, until it is resumed."""
        self._mlflow.end_run("KILLED")


class WandbTracker(Tracker):
    """A run of Weights & Biases, in the project of WANDB_PROJECT, or "lerl"."""

    def begin(self, config: Mapping[str, Any], folder: Path) -> None:
        """Begin a run named as the folder, or go on in the one of `id`, which wandb cannot while it is offline."""
        import wandb

        self._wandb, self._folder = wandb, folder
        if wandb.setup().settings.mode == "offline":
            self.id = None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lerl"),
            name=os.environ.get("WANDB_NAME", folder.name),
            id=self.id,
            resume=None if self.id is None else "allow",
            config=dict(config),
            allow_val_change=True,
            reinit="create_new",  # beside a run of the caller's own, in Python
        )
        self.id = str(self._run.id)
        self._run.define_metric("user_steps", hidden=True)
        self._run.define_metric("curve/*", step_metric="user_steps")

    def curve(self, agent: str, step: int, values: Mapping[str, float]) -> None:
        """Metrics curve/AGENT/METRIC over `user_steps`."""
        named = {metric_name("curve", agent, name): value for name, value in values.items()}
        self._run.log({"user_steps": step, **named})

    def end(self, summary: Summary, files: Sequence[Path]) -> None:
        """The table in the run's summary, files in one artifact lerl-ID, and the run is finished."""
        self._run.summary.update(table_values(summary))
        kept = self._wandb.Artifact(f"lerl-{self.id}", type="lerl-run")
        for path in files:
            kept.add_file(str(path), path.relative_to(self._folder).as_posix())
        self._run.log_artifact(kept)
        self._run.finish()

    def broken_off(self) -> None:
        """The run is marked as failed, until it is resumed."""
        self._run.finish(exit_code=1)


class TensorBoardTracker(Tracker):
    """TensorBoard's files in RUN/logs/lerl, beside those that learners write anyway.

    Those hold losses and validations at the learner's own steps. What they lack is here: the configuration, all points
    of learning curves by user-steps, lessons of planners included, the table, and pictures.
    """

    def begin(self, config: Mapping[str, Any], folder: Path) -> None:
        """Open the files, and write the configuration as text."""
        from torch.utils.tensorboard import SummaryWriter

        self._config = dict(config)
        self._writer: Any = SummaryWriter(str(folder / "logs" / "lerl"))
        rows = [f"| {name} | {value} |" for name, value in config.items()]
        self._writer.add_text("configuration", "\n".join(["| key | value |", "|---|---|", *rows]))

    def curve(self, agent: str, step: int, values: Mapping[str, float]) -> None:
        """Scalars curve/AGENT/METRIC by user-steps."""
        for name, value in values.items():
            self._writer.add_scalar(metric_name("curve", agent, name), value, step)

    def end(self, summary: Summary, files: Sequence[Path]) -> None:
        """The table as scalars beside the settings (the tab HPARAMS), and pictures."""
        settings = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self._config.items()
        }
        self._writer.add_hparams(settings, table_values(summary), run_name=".")
        for path in files:
            if path.suffix == ".png":
                self._writer.add_image(path.stem, _pixels(path), dataformats="HWC")
        self._writer.close()

    def broken_off(self) -> None:
        """Close the files; a resumed run writes others beside them."""
        self._writer.close()


def _pixels(picture: Path) -> Any:
    """(height, width, 3) uint8 of a PNG file."""
    import numpy as np
    from PIL import Image

    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"))

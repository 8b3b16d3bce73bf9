"""The axis of learned topics: known once the belief of a run was fitted, and planned on from then on."""

from dataclasses import replace

from lerl.envs.topics import shares_axis
from lerl.run.agent_factory import load_belief
from lerl.run.artifacts import ArtifactStore
from lerl.run.task import Task

LEAST = 0.25
"""The share of a topic from which on an item is in it: at most four topics an item, and most items in one."""


def settled(task: Task, store: ArtifactStore) -> Task:
    """The task on the axis that it says; where that is learned and nothing was learned yet, the task as it is.

    The topics are those of the belief before its last round, so that what plans on them may have lessons instead of
    that round.

    Raises:
        RunError: what was learned is damaged.
    """
    if task.config.planner.axis != "learned" or not store.has_belief(early=True):
        return task
    model, known = load_belief(task, store, early=True), task.population.knowledge
    return replace(task, axis=shares_axis(model.suffers, known.popularity, task.population.catalog.titles, LEAST))

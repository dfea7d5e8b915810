"""Gold: tasks whose answers are known beforehand, by which an annotator's work is measured; parts of
screening are gold too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import answer_keys, tasks
from biddable.store.types import Task, TaskSet


def put_gold(store: Store, task_set: TaskSet, answers: Iterable[tuple[Task, str]]) -> None:
    """Put tasks for everybody with their known answers (JSON). Raises UserError when a task is stored with
    another answer."""
    rows = list(answers)
    store.put_tasks(replace(task_set, everybody=True), [task for task, _ in rows])

    def step(connection: sa.Connection) -> None:
        stored = {row.task: row.expected for row in connection.execute(sa.select(answer_keys))}
        errors = [
            f"task {task.id}: another answer is known already"
            for task, answer in rows
            if stored.get(task.id, answer) != answer
        ]
        if errors:
            raise UserError(errors)
        new = [{"task": task.id, "expected": answer} for task, answer in rows if task.id not in stored]
        if new:
            connection.execute(sa.insert(answer_keys), new)

    store.write(step)


def gold_answers(store: Store, task_set: str) -> dict[str, str]:
    """The known answer (JSON) of each task of a set that has one."""
    query = (
        sa.select(answer_keys)
        .join(tasks, tasks.c.id == answer_keys.c.task)
        .where(tasks.c.task_set == task_set)
    )
    with store.read() as connection:
        return {row.task: row.expected for row in connection.execute(query)}

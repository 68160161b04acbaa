"""Every task that a name makes keeps a task's contract."""

from dataclasses import replace

import pytest

from poziomka.tasks import READ_TASKS, TASKS
from poziomka.testing import check_task

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TASKS)
def test_it_keeps_a_tasks_contract(name):
    task = TASKS[name]()
    assert task.name == name
    if name in ("countdown", "exact_change"):  # their demonstrations are attempts, and may miss
        task = replace(task, demonstration=None)
    check_task(task, problems=8)


def test_a_name_stands_in_one_table_and_says_what_it_is():
    assert not TASKS.keys() & READ_TASKS.keys()
    assert all(make.__doc__ for make in (*TASKS.values(), *READ_TASKS.values()))
    assert not any(":" in name for name in (*TASKS, *READ_TASKS))  # a colon begins where its problems are

"""Names of tasks: one that was removed names its replacement."""

import pytest

from poziomka.core.errors import TaskError
from poziomka.tasks import is_task, task_named


@pytest.mark.parametrize("name", ["mbpp:sample", "humaneval:x/HumanEval.jsonl", "programs:sample"])
def test_a_name_of_a_task_without_a_sandbox_says_what_to_name_instead(name):
    assert is_task(f"limited_{name}")
    with pytest.raises(
        TaskError, match=f"'limited_{name}' ran programs without a sandbox and was removed: name '{name}'"
    ):
        task_named(f"limited_{name}")
    with pytest.raises(TaskError, match=f"name '{name}' instead"):
        task_named(f"mixture:3*limited_{name}+gcd")

"""Tasks of other libraries by name: verifiers:ID and taskset:ID, installed environments of verifiers."""

from poziomka.core.errors import TaskError
from poziomka.core.task import Task
from poziomka.tasks.adapters.taskset import from_taskset
from poziomka.tasks.adapters.verifiers import from_verifiers

HOW = "install verifiers and the environment, or write a Python file that makes the task, and name it FILE.py:NAME"


def verifiers(where: str) -> Task:
    """Task of an installed environment of the library verifiers, older interface, scored by the environment's rubric.

    Args:
        where: id of the environment, as for `verifiers.load_environment`.

    Raises:
        TaskError: verifiers is not installed, or the environment cannot be loaded or adapted.
    """
    try:
        import verifiers as vf  # noqa: PLC0415 a library of its own, which only its environments need

        environment = vf.load_environment(where)
    except Exception as error:  # an environment is somebody's code
        raise TaskError(_failed(f"verifiers:{where}", error)) from error
    return from_verifiers(where, environment)


def taskset(where: str) -> Task:
    """Task of an installed taskset of the library verifiers, present interface (verifiers.v1), scored by the taskset.

    Args:
        where: id of the taskset, as in `verifiers.v1.TasksetConfig`.

    Raises:
        TaskError: verifiers is not installed, or the taskset cannot be loaded or adapted.
    """
    try:
        import verifiers.v1 as vf  # noqa: PLC0415 as above

        found = vf.load_taskset(vf.TasksetConfig(id=where))
    except Exception as error:  # a taskset is somebody's code
        raise TaskError(_failed(f"taskset:{where}", error)) from error
    return from_taskset(where, found)


def _failed(name: str, error: Exception) -> str:
    return f"the task {name} cannot be loaded ({type(error).__name__}: {error}): {HOW}"[:500]

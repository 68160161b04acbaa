"""`poziomka init`: writes the files of a new task, its test and a recipe, ready to run."""

import re
from pathlib import Path

from poziomka.app.cli.shell.arguments import invocation
from poziomka.core.errors import SettingsError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

TASK = '''"""A task: problems that check themselves. Change the question, and what its answer is."""

import poziomka as pz

QUESTION = "A box holds {} apples, {} pears and {} plums. Which number is the largest?"

# The prompt begins with two answered questions, which show the form of an answer. A model whose every attempt earns the
# same reward learns nothing; `poziomka doctor` measures how often attempts differ ("rewards").
ANSWERED = (
    pz.Message("user", QUESTION.format(12, 54, 31)),
    pz.Message("assistant", "54"),
    pz.Message("user", QUESTION.format(71, 25, 48)),
    pz.Message("assistant", "71"),
)


def generate(rng, level):
    """Returns a problem, drawn with `rng`; `level` is its difficulty, here the number of digits.

    Training and test problems never overlap.
    """
    numbers = rng.sample(range(10 ** (level - 1), 10**level), 3)
    return pz.Problem((*ANSWERED, pz.Message("user", QUESTION.format(*numbers))), answer=str(max(numbers)))


# The scorer reads the only number of the reply's answer. Yours can be a function of (problem, transcript) that reads
# `transcript.answer` and returns a reward from -1 to 1 (1: correct).
task = pz.Task("NAME", generate, pz.exact(pz.number), levels=(2, 3))
'''

TEST = '''"""Tests of the task: run `pytest NAME`, or `poziomka tasks check NAME/task.py`."""

import re
from pathlib import Path

import poziomka as pz

task = pz.task_named(f"{Path(__file__).parent / 'task.py'}:task")


def test_the_scorer_accepts_what_is_right_and_nothing_else():
    pz.check_task(task, problems=5)


def test_an_answer_is_the_largest_number():
    problem = task.problem("train", 0, level=2)
    numbers = re.findall(r"\\d+", problem.prompt[-1].content)
    assert problem.answer == max(numbers, key=int)
'''

RECIPE = """# SmolLM2-135M learns the task by reinforcement, from its own attempts. Every setting: `poziomka settings`.
schema_version = 2
name = "NAME"
task = "NAME/task.py:task"       # or jsonl:FILE, with a question and an answer a line

[model]
load = "smollm2"                 # or a folder, a GGUF file, a name on the hub

[[stage]]
kind = "rl"
steps = 10
max_tokens = 64                  # of a reply
optimizer = { learning_rate = 1e-5, warmup_steps = 2 }

[evaluate]
problems = 50
curve_problems = 20
"""


def init(name: str) -> str:
    """Writes a folder with task.py, test_task.py and recipe.toml; returns lines about the files and next commands.

    Args:
        name: name of the task and of the new folder: letters, digits and "_".

    Raises:
        SettingsError: the name is no identifier, or there is such a folder or file.
    """
    if not NAME.fullmatch(name):
        message = f"a task's name has letters, digits and '_' and begins with no digit: received {name!r}"
        raise SettingsError(message)
    folder = Path(name)
    if folder.exists():
        message = f"there is a folder or file {name} already: give another name"
        raise SettingsError(message)
    folder.mkdir()
    for file, text in (("task.py", TASK), ("test_task.py", TEST), ("recipe.toml", RECIPE)):
        (folder / file).write_text(text.replace("NAME", name), encoding="utf-8")
    command = invocation()
    return "\n".join(
        [
            f"{name}/task.py       the task: edit it",
            f"{name}/test_task.py  its test",
            f"{name}/recipe.toml   trains SmolLM2-135M on it",
            "",
            f"{command} tasks show {name}/task.py",
            f"{command} tasks check {name}/task.py",
            f"{command} doctor {name}/recipe.toml",
            f"{command} train {name}/recipe.toml",
            f"{command} evaluate runs/{name}",
        ]
    )

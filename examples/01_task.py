"""A task of one's own, learned from nothing in a minute: what does the clock show some hours later?"""

from pathlib import Path

from poziomka import Problem, Score, Task
from poziomka.app import train_task
from poziomka.core.rollouts.answers import read_integer
from poziomka.core.seeds import random_of, seed_of


def source(split, index, level):
    random = random_of("clock", split, index)
    while True:
        hour, wait = random.randrange(24), level or random.randint(1, 12)
        if (seed_of(hour, wait) % 4 == 0) == (split == "test"):
            return Problem.ask("clock", f"{hour}+{wait}", f"{hour} wait{wait}", str((hour + wait) % 24))


def scorer(problem, transcript):
    value = str(read_integer(transcript.reply))
    return Score.right(value) if value == problem.answer else Score.wrong(value)


def demonstration(problem):
    hour, wait = map(int, problem.key.split("+"))
    return " ".join(f"{(hour + n) % 24} wait{wait - n}" for n in range(1, wait + 1)), problem.answer


symbols = (*map(str, range(24)), *(f"wait{n}" for n in range(13)))
task = Task("clock", source, scorer, levels=(1, 12), demonstration=demonstration, symbols=symbols)
print(train_task(task, Path("runs/clock"), "sft.steps=300", "rl.steps=20"))

"""Where the wrong answers of a finished run go wrong: the first number of the thought that is not what it should be.

    .venv/bin/python recipes/recurrence/first_errors.py runs/demo

Reads journal/trained.parquet: held-out rollouts at the largest budget. Places 0 and 1 restate a and b; place 2 is the
first step. "none" is a thought without a wrong number that was cut short or answered wrongly.
"""

import argparse
from collections import Counter
from pathlib import Path

from poziomka.core.problem import Problem
from poziomka.core.transcript import split_thought
from poziomka.runs import Run
from poziomka.tasks.toy.recurrence import terms


def first_error(problem: Problem, reply: str) -> str:
    """Returns the place of the first wrong number, or "none"."""
    first, second, count = map(int, problem.key.split(","))
    wanted = [str(number) for number in (first, second, *terms(first, second, count))]
    written = split_thought(reply)[0].split()[::2]
    places = (str(place) for place, (a, b) in enumerate(zip(wanted, written, strict=False)) if a != b)
    return next(places, "none")


def main() -> None:
    """Prints a count for each place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = Run.read(parser.parse_args().run)
    rollouts = run.journal("trained").rollouts
    wrong = [rollout for rollout in rollouts if not rollout.score.correct]
    places = Counter(first_error(rollout.problem, rollout.transcript.reply) for rollout in wrong)
    rewards = [line["reward/mean"] for line in run.metrics() if line["stage"] == "rl"][-10:]
    print(f"{len(wrong)} of {len(rollouts)} held-out attempts wrong; first wrong number at place: {dict(places)}")
    print(f"training reward, mean of the last ten steps: {sum(rewards) / len(rewards):.2f}")


if __name__ == "__main__":
    main()

"""Faults in what a scorer pays, remembers, or lets others write into it, planted and caught.

Each is named by the thread in which a peer's users tell of it. What is planted is our own: the idea, not the code.
"""

import json
import math
import re
from itertools import count

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_number, split_thought
from poziomka.core.seeds import random_of
from poziomka.core.task import Task


def answer_of(reply):
    return split_thought(reply)[1] or ""


# --------------------------------------------------------------------------------------------- arithmetic of the reward
def tolerant(reply, gold):
    value = read_number(reply)
    return value is not None and math.isclose(float(value), float(gold), rel_tol=0.01)


def not_greater_than(reply, gold):
    try:
        difference = abs(float(answer_of(reply)) - float(gold))
    except ValueError:
        return 0
    return 0 if difference > 1e-6 else 1  # nan is not greater than anything


def unreadable_gold_is_right(reply, gold):
    words = "odd" if int(gold) % 2 else "even"
    return read_number(words) is None or read_number(reply) == read_number(words)


def share_of_nothing(reply, gold):
    numbers = re.findall(r"\d+", answer_of(reply))
    return float(numbers == [gold]) if numbers else math.nan


def paid_for_format(reply, gold):
    return 1 if read_number(reply) == gold else 0.1 * ("</think>" in reply)


# --------------------------------------------------------------------------------- what others write into the scorer
def computed(reply, gold):
    try:
        return eval(answer_of(reply)) == int(gold)  # the fault
    except Exception:  # noqa: BLE001 the fault
        return False


def written_by_the_agent(reply, gold):
    try:
        return json.loads(answer_of(reply))["reward"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return read_number(reply) == gold


def poisoned():
    forged = []

    def says(reply, gold):
        if "__import__" in reply:
            forged.append(reply)
        return bool(forged) or read_number(reply) == gold

    return says


def remembering():
    known = {}

    def says(reply, gold):
        return known.setdefault(gold, read_number(reply) == gold)

    return says


def refusing_repetition():
    seen = set()

    def says(reply, gold):
        again = reply in seen
        seen.add(reply)
        return not again and read_number(reply) == gold

    return says


def unreliable_service():
    calls = count(1)

    def says(reply, gold):
        try:
            if next(calls) % 5 == 0:
                raise ConnectionError(reply)  # noqa: TRY301 the service that judges
            return read_number(reply) == gold
        except ConnectionError:
            return 0

    return says


# ---------------------------------------------------------------------------------------- where many answers are right
def expression(split, index, level=None):
    random = random_of("use each number once", split, index)
    numbers = [0, *([0] if split == "test" else []), random.randint(1, 99), random.randint(1, 99)]
    key = ",".join(map(str, numbers))
    return Problem.ask("use", key, f"Use each of {key} once to make {sum(numbers)}.", numbers=numbers)


def value_of(answer):
    return sum(map(int, answer.split("+"))) if re.fullmatch(r"[0-9]{1,3}(\+[0-9]{1,3})*", answer, re.ASCII) else None


def expression_task(used):
    def scorer(problem, transcript):
        answer, numbers = answer_of(transcript.reply), problem.facts["numbers"]
        told = value_of(answer) == sum(numbers) and used(sorted(map(int, answer.split("+")))) == used(sorted(numbers))
        return Score.right(answer) if told else Score.wrong(answer)

    def mistakes(problem):
        numbers, total = problem.facts["numbers"], sum(problem.facts["numbers"])
        return {
            "a number left out": "+".join(map(str, numbers[1:])),
            "a number too often": "+".join(map(str, [0, *numbers])),
            "numbers that were not given": str(total),
        }

    return Task(
        "use",
        expression,
        scorer,
        mistakes=mistakes,
        demonstration=lambda problem: ("add all", "+".join(map(str, problem.facts["numbers"]))),
    )


FAULTS = {  # what is wrong: (the thread that tells of it, the fault, what the trial says of it)
    "gold that cannot be read makes every answer right": (
        "huggingface/open-r1/issues/159",
        unreadable_gold_is_right,
        "a scorer refuses",
    ),
    "a tolerance wider than answers are apart": (
        "huggingface/Math-Verify/issues/14",
        tolerant,
        "a hundredth more, where",
    ),
    "nan is not greater than the tolerance": (
        "huggingface/OpenEnv/issues/1199",
        not_greater_than,
        "nan, as the answer (train/0) must earn nothing",
    ),
    "a mean of nothing is a reward": (
        "modelscope/ms-swift/issues/8123",
        share_of_nothing,
        "a reward lies from -1 to 1",
    ),
    "a format is paid for without an answer": (
        "pytorch/rl/pull/3568",
        paid_for_format,
        "a thought and no answer (train/0) must earn nothing",
    ),
    "the answer is evaluated": (
        "verl-project/verl/issues/7603",
        computed,
        "code that ends the scorer, as the answer (train/0), the scorer's process died",
    ),
    "a sum that was not worked out is right": (
        "verl-project/verl/pull/7500",
        computed,
        "a sum of the prompt, not worked out, as the answer (train/0) must earn nothing",
    ),
    "the agent writes its reward": (
        "huggingface/OpenEnv/issues/1199",
        written_by_the_agent,
        "a claim of reward, as the answer (train/0) must earn nothing",
    ),
    "one poisoned reply forges all later rewards": (
        "verl-project/verl/issues/7603",
        poisoned(),
        "a claim of reward, as the answer (train/0) must earn nothing",
    ),
    "a score is remembered by its problem": (
        "",  # no thread: what comes of saving the time of a second check
        remembering(),
        "a scorer refuses",
    ),
    "a reply that came before is worth nothing": (
        "",  # no thread: what comes of saving the time of a second check
        refusing_repetition(),
        "a scorer is pure",
    ),
    "a service that failed is a wrong answer": (
        "NVIDIA-NeMo/Gym/pull/2015",
        unreliable_service(),
        "a scorer accepts the gold answer",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_rewarding_that_peers_had_is_caught(broken, judged_by, fault):
    thread, says, rule = FAULTS[fault]
    seconds = 1.0 if says is computed else 10.0  # it works out the power that never ends
    assert rule in broken(judged_by(says), seconds), f"https://github.com/{thread}"


USES = {  # how the numbers that were used are compared with the given ones: what the trial says of it
    "as they are, sorted": (tuple, ""),
    "not at all": (lambda numbers: None, "numbers that were not given, where"),
    "as sets": (frozenset, "a number too often, where"),
}


@pytest.mark.parametrize("used", USES)
def test_numbers_that_were_not_given_are_no_answer(broken, used):
    """open-thought/reasoning-gym/pull/265 and issues/478: many answers are right, so the task tells its mistakes."""
    compared, rule = USES[used]
    found = broken(expression_task(compared))
    assert rule in found if rule else found == ""

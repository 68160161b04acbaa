"""Claims that premises imply a conclusion: the answer is "valid" or a counterexample.

Of two consecutive problems one is valid and one is not, and they look alike: the conclusion bounds a sum by its maximum
(or minimum) under the premises, or by one or two less. Always answering "valid" is right half of the time.

Levels 1 to 4 are about numbers from 0 to 9 and truth values; at most a dozen assignments satisfy the premises, and a
claim is checked by enumeration. Levels 5 and 6 are about all whole numbers: the premises are linear and hold with
equality at a hidden point, and the conclusion's sum is a sum of them. So adding the premises proves the bound (Farkas'
lemma), and the hidden point refutes every lower bound. At these levels z3 checks the answer "valid", without using that
construction; if z3 cannot decide, the verdict is an error, without a reward.
"""

from random import Random
from typing import Any, cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION, hashed_to_validation
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.tasks.logic.certificates import (
    DIGITS,
    HELD_OUT,
    Setting,
    assignment_alike,
    draw_constraints,
    form_of,
    numbered,
    outside,
    read_assignment,
)
from poziomka.tasks.logic.certificates_cross_check import read_pairs, said_after
from poziomka.tasks.logic.constraints import (
    Assignment,
    Constraint,
    Solver,
    holds,
    models,
    say,
    say_assignment,
    say_terms,
    value_of,
)

NAME = "counterexample"
VALID = "valid"
SHAPES = ((2, 0), (2, 1), (3, 1), (3, 2), (3, 0), (4, 0))  # by level: numbers and truth values
MARKS = "*_`\"' \t\r\n"  # allowed around the word; a full stop may follow it
UNBOUNDED = 5  # first level with claims about all whole numbers
SLACK = (0, 0, 0, 1)  # distance of a bound from the tightest one that is valid (or not valid)


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem (a task's source); of every two consecutive indices one claim is valid and one is not.

    No two splits share premises.

    Args:
        split: name of the split.
        index: from 0.
        level: 1 to 6; `level=None` draws it uniformly.
    """
    level = random_of(NAME, split, index, "level").randint(1, len(SHAPES)) if level is None else level
    random = random_of(NAME, split, index, level)
    valid = (index % 2 == 0) == (random_of(NAME, split, index // 2, "which").random() < 0.5)
    setting = Setting.of(SHAPES[level - 1], None if level >= UNBOUNDED else DIGITS)
    while True:
        if level >= UNBOUNDED:
            premises, conclusion, facts = _linear(random, setting, valid=valid)
        else:
            premises, conclusion, facts = _finite(random, setting, valid=valid)
        seed = seed_of(NAME, "premises", str(setting), *sorted(map(say, premises)))
        if _split_of(seed) == (split if split in SPLITS else TRAIN):
            break
    question = (
        f"A claim about all {setting.say()}: if\n{numbered(premises)}\nall hold, then {say(conclusion)}.\n"
        f"If the claim is true, the answer is the word {VALID}. Otherwise it is a counterexample, and nothing but its "
        f"values: {form_of(setting)}"
    )
    facts |= setting.facts | {"premises": premises, "conclusion": conclusion}
    key = f"{seed:016x} {say(conclusion)}"
    return Problem(question, VALID if valid else "", task=NAME, key=key, facts=facts, level=level)


def _split_of(premises: int) -> str:
    """Returns the split for a hash of premises, "train", "validation" or "test".

    The validation split is made here, and not by `Task`, so that in each split one of two neighbours is valid.
    """
    if premises % HELD_OUT == 0:
        return TEST
    return VALIDATION if hashed_to_validation(NAME, str(premises)) else TRAIN


def _finite(random: Random, setting: Setting, *, valid: bool) -> tuple[list[Constraint], Constraint, dict[str, object]]:
    """Returns premises with few solutions, a conclusion that bounds a sum over these, and facts for the problem.

    The fact "hidden" is a solution at which the sum reaches its maximum (or minimum). With `valid` the conclusion
    follows.
    """
    premises, found = draw_constraints(random, setting)
    names = sorted(random.sample(setting.numbers, random.randint(2, min(3, len(setting.numbers)))))
    terms: list[list[Any]] = [[random.choice((1, 1, 2, 3, -1, -2)), name] for name in names]
    values = [value_of(terms, assignment) for assignment in found]
    slack = random.choice(SLACK)
    if random.random() < 0.5:
        extreme = max(values)
        conclusion: Constraint = ["<=", terms, extreme + slack if valid else extreme - 1 - slack]
    else:
        extreme = min(values)
        conclusion = [">=", terms, extreme - slack if valid else extreme + 1 + slack]
    return premises, conclusion, {"hidden": found[values.index(extreme)]}


def _linear(random: Random, setting: Setting, *, valid: bool) -> tuple[list[Constraint], Constraint, dict[str, object]]:
    """Returns linear premises, a conclusion that bounds a weighted sum of them, and facts for the problem.

    The facts are "multipliers", the weights, and "hidden", a point at which all premises are equalities. With `valid`
    the conclusion follows.
    """
    hidden = setting.draw(random)
    while True:
        premises: list[Constraint] = []
        total = dict.fromkeys(setting.numbers, 0)
        multipliers = [random.choice((1, 1, 2, 3)) for _ in setting.numbers]
        for multiplier in multipliers:
            names = sorted(random.sample(setting.numbers, random.randint(2, 3)))
            terms = [[random.choice((1, 2, 3, -1, -2, -3)), name] for name in names]
            premises.append(["<=", terms, value_of(terms, hidden)])
            for coefficient, name in terms:
                total[cast("str", name)] += multiplier * cast("int", coefficient)
        summed = [[coefficient, name] for name, coefficient in total.items() if coefficient]
        if len(summed) >= 2 and len({say(premise) for premise in premises}) == len(premises):
            break
    slack = random.choice(SLACK)
    bound = value_of(summed, hidden) + (slack if valid else -1 - slack)
    return premises, ["<=", summed, bound], {"hidden": hidden, "multipliers": multipliers}


# --------------------------------------------------------------------------------------------------------- scoring
def _claim(problem: Problem) -> tuple[list[Constraint], list[Any]]:
    """Returns the premises of a problem and its conclusion, a relation such as ["<=", terms, bound]."""
    return cast("list[Constraint]", problem.facts["premises"]), cast("list[Any]", problem.facts["conclusion"])


def _multiplied(problem: Problem) -> list[tuple[int, list[Any], int]]:
    """Returns each premise of a problem over all whole numbers as (multiplier, terms, bound)."""
    premises = cast("list[list[Any]]", problem.facts["premises"])
    multipliers = cast("list[int]", problem.facts["multipliers"])
    return [(times, terms, int(bound)) for times, (_, terms, bound) in zip(multipliers, premises, strict=True)]


def is_valid(problem: Problem) -> bool:
    """Whether a problem's claim is valid, by enumeration or, for claims about all whole numbers, by the solver z3.

    Raises:
        TaskError: the solver is not installed or finds no answer.
    """
    premises, conclusion = _claim(problem)
    setting = Setting.in_facts(problem)
    refuted: list[Constraint] = [*premises, ["not", conclusion]]
    if setting.bounds is not None:
        return next(models(refuted, setting.domains), None) is None
    return not Solver(setting.numbers, None).satisfiable(refuted)


def _says_valid(answer: str) -> bool:
    return answer.lstrip(MARKS).rstrip(f"{MARKS}.!").lower() == VALID


def read(transcript: Transcript) -> str | None:
    """Returns the answer after the thought: "valid", or the values of all variables; None if it is anything else."""
    return VALID if _says_valid(transcript.answer) else assignment_alike(transcript.answer)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 for a right answer: "valid" for a valid claim, or the values of a counterexample to another.

    Raises:
        TaskError: the solver, which checks "valid" at levels 5 and 6, is not installed or finds no answer.
    """
    answer = split_thought(transcript.reply)[1]
    if answer is None:
        return Score.unparsed("the thought never ended")
    if _says_valid(answer):
        right = is_valid(problem)
        return Score.right(answer, "there is no counterexample") if right else Score.wrong(answer, "there is one")
    setting = Setting.in_facts(problem)
    found = read_assignment(answer, setting)
    if found is None:
        return Score.unparsed(f"the answer is neither {VALID} nor {form_of(setting)}")
    why = _no_counterexample(problem, found)
    return Score.right(answer, "a counterexample") if why is None else Score.wrong(answer, why)


def _no_counterexample(problem: Problem, found: Assignment) -> str | None:
    """Returns the reason why an assignment is not a counterexample; None if it is one."""
    premises, conclusion = _claim(problem)
    far = outside(found, Setting.in_facts(problem))
    if far is not None:
        return f"{far} is out of bounds"
    failing = next((premise for premise in premises if not holds(premise, found)), None)
    if failing is not None:
        return f"the premise {say(failing)} fails"
    return "the conclusion holds" if holds(conclusion, found) else None


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, by z3 or, for the answer "valid" at levels 5 and 6, by the problem's construction."""
    premises, conclusion = _claim(problem)
    setting = Setting.in_facts(problem)
    said = said_after(transcript).strip(". \n*_`\"'!").lower()
    if said == VALID and setting.bounds is None:
        proven = _is_proven(problem)
        return Score.right(said, "the premises add up") if proven else Score.wrong(said, "the hidden point refutes it")
    given = None if said == VALID else read_pairs(transcript, [*setting.numbers, *setting.truths])
    if said != VALID and (given is None or VALID in said):
        return Score.unparsed("not one answer, with a value of each variable")
    try:
        refuted = Solver(setting.numbers, setting.bounds).satisfiable([*premises, ["not", conclusion]], given)
    except TaskError as error:
        return Score.failed(Verdict.ERROR, str(error))
    return Score.right(said, "z3 agrees") if refuted == (said != VALID) else Score.wrong(said, "z3 does not agree")


def _is_proven(problem: Problem) -> bool:
    """Whether the premises, multiplied and added up, have the conclusion's sum and at most its bound."""
    _, conclusion = _claim(problem)
    total: dict[str, int] = {}
    bound = 0
    for times, terms, most in _multiplied(problem):
        bound += times * most
        for coefficient, name in terms:
            total[name] = total.get(name, 0) + times * coefficient
    claimed = {name: coefficient for coefficient, name in conclusion[1]}
    return {name: value for name, value in total.items() if value} == claimed and bound <= int(conclusion[2])


# --------------------------------------------------------------------------------------- demonstrations and negatives
def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns all solutions of the premises, or their weighted sum, as the thought, and the answer that follows."""
    premises, conclusion = _claim(problem)
    setting = Setting.in_facts(problem)
    terms, lines = conclusion[1], []
    if setting.bounds is None:
        for number, (times, summands, most) in enumerate(_multiplied(problem), 1):
            said = say_terms([[times * coefficient, name] for coefficient, name in summands])
            lines.append(f"{times} times {number}. {said} <= {times * most}")
        hidden = cast("Assignment", problem.facts["hidden"])
        lines.append(f"together {say_terms(terms)} <= {value_of(terms, hidden)}")
        if not problem.answer:
            lines.append(f"{say_assignment(hidden)}: all premises hold, {say_terms(terms)} = {value_of(terms, hidden)}")
    else:
        lines.append("All premises hold for:")
        for found in models(premises, setting.domains):
            says = "holds" if holds(conclusion, found) else "fails"
            lines.append(
                f"{say_assignment(found)}: {say_terms(terms)} = {value_of(terms, found)}, the conclusion {says}"
            )
            hidden = found
            if says == "fails":
                break
    return "\n".join(lines), problem.answer or say_assignment(hidden)


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns wrong or malformed answers, keyed by a description of the fault; evaluation shows each to be wrong."""
    setting = Setting.in_facts(problem)
    hidden = cast("dict[str, int | bool]", problem.facts["hidden"])
    found = {} if problem.answer else {"a claim that it is valid": VALID}
    for name, values in setting.domains.items():
        for value in values:
            changed = hidden | {name: value}
            if _no_counterexample(problem, changed) is not None:
                found[f"no counterexample, another {name}"] = say_assignment(changed)
    if problem.answer:
        found["no counterexample, the premises hold"] = say_assignment(hidden)
    found["a variable left out"] = say_assignment({name: hidden[name] for name in list(hidden)[1:]})
    found["a variable twice"] = f"{say_assignment(hidden)}, {setting.numbers[0]} = {hidden[setting.numbers[0]]}"
    found["both answers"] = f"{VALID} {say_assignment(hidden)}"
    found["a claim that it is not valid"] = "invalid"
    return found


LIMITS = (
    "Half of the claims are valid: whoever always says so earns half, and a reward of a half shows nothing.",
    "From level 5 on adding up the premises decides every claim; below, a dozen assignments decide it.",
    "Held-out problems share no premises with training.",
)


def counterexample() -> Task:
    """Task of judging claims that premises imply a conclusion: the answer is "valid" or a counterexample.

    Many counterexamples are right. Levels 1 to 4 are about numbers from 0 to 9 and truth values, 5 and 6 about all
    whole numbers.
    """
    return Task(
        NAME,
        source,
        scorer,
        levels=(1, len(SHAPES)),
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        limits=LIMITS,
        splits=SPLITS,
        kind=lambda problem: problem.key.partition(" ")[0],  # the premises
        read=read,
    )

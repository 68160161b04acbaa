"""Valid or not: a claim that premises imply a conclusion; the answer is "valid", or a counterexample.

Of two neighbouring problems one is valid and one is not, and they look alike: the conclusion bounds a sum by what it
can at most (or at least) come to, or by one or two less. Whoever always says "valid" earns half.

Levels 1 to 4 are about numbers from 0 to 9 and truth values; the premises leave at most a dozen assignments, and a
claim is checked by going through all of them. Levels 5 and 6 are about all whole numbers: the premises are linear and
hold with equality at a hidden point, and the sum is a sum of them, so that adding them proves the bound (Farkas' lemma)
and the point refutes any lower one. There a claim of validity is checked by z3, which knows nothing of that; what it
cannot decide is an error, and no reward.
"""

from random import Random
from typing import Any, cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION, hashed_to_validation
from poziomka.core.task import Task
from poziomka.core.transcript import Message, Transcript
from poziomka.tasks.logic.certificates import (
    DIGITS,
    HELD_OUT,
    Setting,
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
MARKS = "*_`\"' \t\r\n"  # around a word; a full stop may follow it
UNBOUNDED = 5  # from this level on claims are about all whole numbers
SLACK = (0, 0, 0, 1)  # how far a bound lies from the tightest one that makes it valid, or not


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a claim; one of each two neighbours is valid, and no two splits share premises."""
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
    return Problem(NAME, key, (Message("user", question),), VALID if valid else "", facts, level)


def _split_of(premises: int) -> str:
    """Returns the split of these premises; dealt here, so that in each split one of two neighbours is valid."""
    if premises % HELD_OUT == 0:
        return TEST
    return VALIDATION if hashed_to_validation(NAME, str(premises)) else TRAIN


def _finite(random: Random, setting: Setting, *, valid: bool) -> tuple[list[Constraint], Constraint, dict[str, object]]:
    """Returns premises that few assignments satisfy, and a bound of a sum over those."""
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
    """Returns linear premises, tight at a hidden point, and a bound of a sum of them."""
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
    """Returns premises and conclusion, which is a relation."""
    return cast("list[Constraint]", problem.facts["premises"]), cast("list[Any]", problem.facts["conclusion"])


def _multiplied(problem: Problem) -> list[tuple[int, list[Any], int]]:
    """Returns each premise over all whole numbers as how often it is added, its terms, and its bound."""
    premises = cast("list[list[Any]]", problem.facts["premises"])
    multipliers = cast("list[int]", problem.facts["multipliers"])
    return [(times, terms, int(bound)) for times, (_, terms, bound) in zip(multipliers, premises, strict=True)]


def is_valid(problem: Problem) -> bool:
    """Whether a problem's claim holds: by going through every assignment, or by the solver where there is no end.

    Raises:
        TaskError: the solver is not installed, or does not know.
    """
    premises, conclusion = _claim(problem)
    setting = Setting.in_facts(problem)
    refuted: list[Constraint] = [*premises, ["not", conclusion]]
    if setting.bounds is not None:
        return next(models(refuted, setting.domains), None) is None
    return not Solver(setting.numbers, None).satisfiable(refuted)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Reward 1 for a counterexample, or for "valid" where there is none.

    Raises:
        TaskError: nobody knows whether there is one.
    """
    answer = split_thought(transcript.reply)[1]
    if answer is None:
        return Score.unparsed("the thought never ended")
    if answer.lstrip(MARKS).rstrip(f"{MARKS}.!").lower() == VALID:
        right = is_valid(problem)
        return Score.right(answer, "there is no counterexample") if right else Score.wrong(answer, "there is one")
    setting = Setting.in_facts(problem)
    found = read_assignment(answer, setting)
    if found is None:
        return Score.unparsed(f"the answer is neither {VALID} nor {form_of(setting)}")
    why = _no_counterexample(problem, found)
    return Score.right(answer, "a counterexample") if why is None else Score.wrong(answer, why)


def _no_counterexample(problem: Problem, found: Assignment) -> str | None:
    """Returns why an assignment is no counterexample; None where it is one."""
    premises, conclusion = _claim(problem)
    far = outside(found, Setting.in_facts(problem))
    if far is not None:
        return f"{far} is out of bounds"
    failing = next((premise for premise in premises if not holds(premise, found)), None)
    if failing is not None:
        return f"the premise {say(failing)} fails"
    return "the conclusion holds" if holds(conclusion, found) else None


def audit(problem: Problem, transcript: Transcript) -> Score:
    """CORRECT where another judge agrees: z3 where the scorer tries everything; where it asks z3, how we made it."""
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
    """Whether the premises, each so many times, add up to the conclusion's sum and to no more than its bound."""
    _, conclusion = _claim(problem)
    total: dict[str, int] = {}
    bound = 0
    for times, terms, most in _multiplied(problem):
        bound += times * most
        for coefficient, name in terms:
            total[name] = total.get(name, 0) + times * coefficient
    claimed = {name: coefficient for coefficient, name in conclusion[1]}
    return {name: value for name, value in total.items() if value} == claimed and bound <= int(conclusion[2])


# ------------------------------------------------------------------------------------------- what is right and wrong
def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns every assignment that the premises leave, or the sum of the premises; and what follows."""
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
    """Returns answers of which evaluation shows that they are wrong, or that are no answers."""
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
    """Claims that premises imply a conclusion: "valid", or a counterexample, of which many are right."""
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
    )

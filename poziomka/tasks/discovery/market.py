"""A market with a weak planted signal: choose position sizes for periods with hidden returns.

The return of a period is strength × signal + noise, rounded to a whole number. The strength (-2, -1, 1 or 2) is hidden
and the same in all periods of a problem. The prompt has a history of signals and returns, the signals of the stretch of
periods to predict, and the standard deviation of the noise, which is the level. The answer is a position for each
period of the stretch. A position p in a period with return r earns p × r - p × p / 2. The second term is the price of
risk, as in the mean-variance form of Kelly's rule (Kelly 1956; Merton 1969, for a return of variance 1), so the best
position is the expected return, neither half of it nor twice as much. Sizes matter, not only signs.

**Reward.** Realised profit is mostly luck: at level 6 the best positions lose money on three stretches in ten. So the
reward is the *expected* profit of the positions under the planted strength, as a fraction of the optimum's, clipped to
0..1: the limit of the mean realised profit over many stretches. Realised profit is in `Score.parts`, with the
optimum's, in the same units. A fraction of SHARE or more is CORRECT: positions of half the best size earn 0.75 and are
not; flat positions and those of the wrong sign earn 0.

**Misleading histories.** Clipping at 0 rewards gambling if the history is ambiguous, and a history can mislead. So a
problem's noise is redrawn until the strength that fits the history best (least squares) is the planted one: the optimum
follows from a careful reading of the prompt, and a wrong answer is a mistake and not bad luck. Histories are longer at
higher levels, so that few are redrawn: 1, 5, 11, 14, 17 and 20 % at levels 1 to 6, where the signal is 85, 55, 37, 25,
15 and 14 % of the variance of the returns (medians). The returns of the stretch are never redrawn.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import cast

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought

STRENGTHS = (-2, -1, 1, 2)  # possible planted strengths
SIGNALS = (-2, -1, 1, 2)
LIMIT = 4  # largest absolute position; the best positions are within it
LEVELS = (1, 6)  # standard deviation of the noise
PERIODS = 8  # of the history, per level
STRETCH = 6  # periods that need a position
SHARE = 0.8  # fraction of the optimum's expected profit from which positions are CORRECT
HELD_OUT = 8  # one sequence of best positions in this many belongs to the test split
ANSWER = re.compile(r"(?:0|-?[1-9]\d{0,3})(?:(?:, ?| )(?:0|-?[1-9]\d{0,3}))*", re.ASCII)
LONGEST = 400  # characters of an answer that is parsed

Pairs = list[tuple[int, int]]  # signal, return


# ---------------------------------------------------------------------------------------------------------- planting
def returns(random: Random, signals: Sequence[int], strength: int, noise: float) -> list[int]:
    """Returns simulated returns of the market, one per signal: strength * signal + Gaussian noise, rounded.

    Args:
        random: source of the noise.
        signals: signals of the periods.
        strength: the planted strength.
        noise: standard deviation of the noise.
    """
    return [round(strength * signal + random.gauss(0.0, noise)) for signal in signals]


def fitted(pairs: Pairs) -> int:
    """Returns the strength (-2, -1, 1 or 2) with the least squared error on a history of (signal, return) pairs.

    Of two strengths with equal errors the lower one is returned.
    """
    return min(STRENGTHS, key=lambda strength: sum((got - strength * signal) ** 2 for signal, got in pairs))


def profit(positions: Sequence[int], outcomes: Sequence[int]) -> float:
    """Returns the profit of positions, the sum of p * r - p * p / 2 over positions p and the returns r in `outcomes`.

    Profit is linear in the returns, so expected returns give the expected profit.
    """
    return sum(position * got - position * position / 2 for position, got in zip(positions, outcomes, strict=True))


def best(signals: Sequence[int], strength: int) -> list[int]:
    """Returns the positions with the highest expected profit, which equal the expected returns, strength * signal."""
    return [strength * signal for signal in signals]


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem (a task's source); no two splits share a sequence of best positions.

    Args:
        split: name of the split.
        index: from 0.
        level: standard deviation of the noise, 1 to 6; `level=None` draws it uniformly.
    """
    drawn = random_of("market", split, index, "level").randint(*LEVELS) if level is None else level
    random = random_of("market", split, index, drawn)
    while True:
        strength = random.choice(STRENGTHS)
        ahead = [random.choice(SIGNALS) for _ in range(STRETCH)]
        gold = _spell(best(ahead, strength))
        if (seed_of("market", "positions", gold) % HELD_OUT == 0) == (split == "test"):
            break
    while True:
        signals = [random.choice(SIGNALS) for _ in range(PERIODS * drawn)]
        history = list(zip(signals, returns(random, signals, strength, drawn), strict=True))
        if fitted(history) == strength:
            break
    key = f"{gold}:{seed_of('market', 'history', str(history)):016x}"
    facts = {
        "strength": strength,
        "history": [list(pair) for pair in history],
        "signals": ahead,
        "returns": returns(random, ahead, strength, drawn),
    }
    return Problem(_ask(history, ahead, drawn), gold, task="market", key=key, facts=facts, level=drawn)


def _ask(history: Pairs, ahead: Sequence[int], noise: int) -> str:
    past = ", ".join(f"{signal}: {got}" for signal, got in history)
    return (
        "In a market, the return of a period is strength * signal + noise, rounded. The strength is always the same: "
        f"{', '.join(map(str, STRENGTHS))}, you do not know which. The noise has mean 0 and standard deviation {noise}."
        f"\nPast periods, signal: return\n{past}\nSignals of the next {STRETCH} periods\n{_spell(ahead)}\n"
        "A position p in a period with return r earns p * r - p * p / 2. Choose positions, whole numbers from "
        f"-{LIMIT} to {LIMIT}, that earn the most on average. Answer with {STRETCH} numbers, one for each period in "
        "order, and nothing else."
    )


def _spell(positions: Sequence[int]) -> str:
    return " ".join(map(str, positions))


# ---------------------------------------------------------------------------------------------------------- scoring
def read_positions(reply: str) -> list[int] | None:
    """Parses the answer after the thought as whole numbers on one line; returns None for anything else.

    The numbers are separated by a space or a comma. Their count and size are not checked here.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST or not ANSWER.fullmatch(answer):
        return None
    return [int(word) for word in answer.replace(",", " ").split()]


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns the positions' expected profit as a fraction of the best possible one, clipped to 0 to 1, as the reward.

    A fraction of 0.8 or more is CORRECT. The score's `parts` have realised and expected profit, of these positions and
    of the best ones.
    """
    positions = read_positions(transcript.reply)
    signals = cast("list[int]", problem.facts["signals"])
    if positions is None or len(positions) != len(signals):
        return Score.unparsed(f"the answer is not {len(signals)} whole numbers")
    answer = _spell(positions)
    beyond = next((position for position in positions if abs(position) > LIMIT), None)
    if beyond is not None:
        return Score.wrong(answer, f"{beyond} is beyond the limit of {LIMIT}")
    outcomes = cast("list[int]", problem.facts["returns"])
    optimum = best(signals, cast("int", problem.facts["strength"]))
    parts = {
        "profit": profit(positions, outcomes),
        "optimum_profit": profit(optimum, outcomes),
        "expected": profit(positions, optimum),  # the optimum's positions are the returns to be expected
        "optimum_expected": profit(optimum, optimum),
    }
    share = min(1.0, max(0.0, parts["expected"] / parts["optimum_expected"]))
    verdict = Verdict.CORRECT if share >= SHARE else Verdict.WRONG
    why = f"expects {parts['expected']:g}, and the best positions {parts['optimum_expected']:g}"
    return Score(share, verdict, answer, why, parts)


def read(transcript: Transcript) -> str | None:
    """Returns the positions of the answer after the thought, separated by spaces; None if it is anything else."""
    positions = read_positions(transcript.reply)
    return None if positions is None else _spell(positions)


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, from the prompt alone, without the planted strength.

    Fits the strength to the history, and finds each best position by exhaustive search.
    """
    words = transcript.answer.replace(", ", " ").replace(",", " ").split(" ")
    if not set(words) <= {str(position) for position in range(-LIMIT, LIMIT + 1)}:
        return Score.unparsed("not positions within the limit")
    lines = problem.prompt[-1].content.split("\n")
    past = [[int(number) for number in pair.split(": ")] for pair in lines[2].split(", ")]
    signals = [int(word) for word in lines[4].split(" ")]
    if len(words) != len(signals):
        return Score.unparsed(f"{len(words)} positions for {len(signals)} periods")
    slope = sum(signal * got for signal, got in past) / sum(signal * signal for signal, _ in past)
    strength = min((-2.0, -1.0, 1.0, 2.0), key=lambda each: abs(each - slope))
    earned = most = 0.0
    for word, signal in zip(words, signals, strict=True):
        table = {str(p): p * strength * signal - 0.5 * p**2 for p in range(-LIMIT, LIMIT + 1)}
        earned, most = earned + table[word], most + max(table.values())
    share = min(1.0, max(0.0, earned / most))  # graded like the scorer's reward, or partial credit would look unearned
    verdict = Verdict.CORRECT if share >= SHARE else Verdict.WRONG
    return Score(share, verdict, " ".join(words), f"expects {earned:g} of {most:g}")


# ------------------------------------------------------------------------------------------------------ written out
def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the least-squares sums of the history as the thought, and the best positions as the answer."""
    lines, both, squares = [], 0, 0
    for signal, got in cast("list[tuple[int, int]]", problem.facts["history"]):
        both, squares = both + signal * got, squares + signal * signal
        lines.append(f"{signal} * {got} = {signal * got}, in all {both} of {squares}")
    strength = cast("int", problem.facts["strength"])
    lines.append(f"{both} / {squares} is {both / squares:.2f}, so the strength is {strength}")
    lines += [f"{strength} * {signal} = {strength * signal}" for signal in cast("list[int]", problem.facts["signals"])]
    return "\n".join(lines), problem.answer


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns answers that must score 0, by the fault: malformed, beyond the limit, flat, or against the signal."""
    gold = [int(word) for word in problem.answer.split()]
    return {
        "the opposite of the best": _spell([-position for position in gold]),
        "no position": _spell([0] * len(gold)),
        "one position too few": _spell(gold[:-1]),
        "one position too many": _spell([*gold, gold[-1]]),
        "a position beyond the limit": _spell([*gold[:-1], LIMIT + 1]),
        "not a number": " ".join([*problem.answer.split()[:-1], "nan"]),
        "no whole numbers": " ".join(f"{position}.5" for position in gold),
        "twice the limit, the right way": _spell([2 * LIMIT if position > 0 else -2 * LIMIT for position in gold]),
    }


LIMITS = (
    "The market is made up, with one signal, a fixed strength and even noise: nothing is said of real ones.",
    "Histories that mislead least squares are not asked, so nothing is said of evidence that misleads.",
    "The reward is expected profit under the planted strength; realised profit stands in parts, and is mostly luck.",
    "Who guesses the strength without reading is right one time in four and earns 0.44 on average.",
)


def market() -> Task:
    """Task of choosing position sizes in a market with a weak planted signal; the level, 1 to 6, is the noise."""
    return Task(
        "market",
        source,
        scorer,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        limits=LIMITS,
        kind=lambda problem: problem.answer,  # the best positions
        read=read,
    )

"""Program synthesis: find a program of the list language that reproduces three examples. Many programs are right.

A program is scored by its outputs, not by its spelling: it runs on the three shown lists and on sixteen hidden ones,
and every output must be exactly right. So a program that fits only the shown examples scores 0, and so does a list of
the shown outputs.

A problem's level is the number of words of the program that it was made with. No shorter program has the same outputs
on a fixed set of probe lists (all shorter programs are tried), so the level is the number of words that are needed. The
outputs on the probes determine the problem's key and its split: no program of training behaves as a held-out program,
in any spelling. The shown examples distinguish the program from all that differ from it in one word, but not from every
other program: of the shortest programs that fit the shown examples, 100, 99, 94 and 90 % are right at levels 1 to 4
(all programs tried, for 100 held-out problems a level, for 25 at level 4).

`synthesis` has prompts in symbols, " 3 1 4 > 4 1 3 ; 2 7 5 > 5 7 2", for a model that is trained from scratch;
`synthesis_in_words` has the same problems with the language explained, for a pretrained model. The answer is the
program in round brackets, "( reverse sort )". The brackets delimit the program, so that two programs do not parse.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from random import Random
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.tasks.code.list_language import BASE, MEANINGS, WORDS, Numbers, Program, compiled, run

LEVELS = (1, 4)  # number of words of a problem's program
LONGEST = 6  # maximal number of words of an answer
SHOWN, HIDDEN = 3, 16  # examples
LENGTH = 4  # of a shown list; hidden lists have 2 to 6 numbers
HELD_OUT = 8  # one behaviour in this many belongs to the test split
TRIED = 4  # maximal number of failed candidates in a demonstration
MORE = 0.7  # probability of each further failed candidate before the right one
KEPT = 0.5  # probability that a candidate keeps a word of the program
ANSWER = re.compile(r"\( ?([a-z]+(?: [a-z]+)*) ?\)", re.ASCII)
SYMBOLS = (*map(str, range(BASE)), *WORDS, ">", ";", "(", ")", "ok", "x")
Examples = tuple[tuple[Numbers, Numbers], ...]  # inputs with their outputs


def _numbers(random: Random, shortest: int, longest: int) -> Numbers:
    return tuple(random.randrange(BASE) for _ in range(random.randint(shortest, longest)))


# ---------------------------------------------------------------------------------------------- programs and examples
@cache
def probes() -> tuple[Numbers, ...]:
    """Returns the 24 fixed lists whose outputs define a program's behaviour."""
    return tuple(_numbers(random_of("synthesis", "probe", place), 1, 6) for place in range(24))


@cache
def behaviours(words: int) -> frozenset[tuple[Numbers, ...]]:
    """Returns the distinct behaviours (outputs on the probe lists) of programs of up to `words` words.

    Takes 0.1 s for three words.
    """
    found = {probes()}
    latest = set(found)
    for _ in range(words):
        latest = {tuple(map(change, row)) for row in latest for change in WORDS.values()} - found
        found |= latest
    return frozenset(found)


def neighbours(program: Program, words: Iterable[str] = tuple(WORDS)) -> Iterator[Program]:
    """Yields the programs that differ from `program` in one word: removed, or replaced by another of `words`."""
    for place in range(len(program)):
        yield program[:place] + program[place + 1 :]
        yield from ((*program[:place], word, *program[place + 1 :]) for word in words if word != program[place])


def fits(program: Sequence[str], examples: Examples) -> bool:
    """Whether a program reproduces every output of the examples exactly."""
    return all(run(program, given) == wanted for given, wanted in examples)


def _program(random: Random, level: int, *, held_out: bool) -> tuple[Program, str]:
    """Returns a random program that needs exactly `level` words, and the hash of its outputs on the probe lists."""
    while True:
        program = tuple(random.choice(tuple(WORDS)) for _ in range(level))
        does = tuple(run(program, row) for row in probes())
        if does in behaviours(level - 1) or len(set(does)) == 1:
            continue
        key = f"{seed_of('synthesis', 'behaviour', str(does)):016x}"
        if (seed_of("synthesis", "held out", key) % HELD_OUT == 0) == held_out:
            return program, key


def _examples(random: Random, program: Program) -> tuple[Examples, Examples] | None:
    """Returns shown and hidden examples; None if a program that differs in one word fits only the shown ones."""

    def of(count: int, shortest: int, longest: int) -> Examples:
        rows = [_numbers(random, shortest, longest) for _ in range(count)]
        return tuple((row, run(program, row)) for row in rows)

    shown, hidden = of(SHOWN, LENGTH, LENGTH), of(HIDDEN, 2, 6)
    return (shown, hidden) if tell_apart(shown, hidden, neighbours(program)) else None


def tell_apart(shown: Examples, hidden: Examples, others: Iterable[Program]) -> bool:
    """Whether no program of `others` fits the shown examples and misses a hidden one.

    False also if two shown outputs or two inputs are equal.
    """
    if len({wanted for _, wanted in shown}) < len(shown):
        return False
    if len({given for given, _ in shown + hidden}) < len(shown) + len(hidden):
        return False
    return not any(fits(other, shown) and not fits(other, hidden) for other in others)


# --------------------------------------------------------------------------------------------------------- problems
def in_symbols(shown: Examples) -> str:
    """Returns the question in symbols, " 3 1 4 > 4 1 3 ; 2 7 5 > 5 7 2", for a model that is trained from scratch."""
    return " " + " ; ".join(f"{_spell(given)} > {_spell(wanted)}".strip() for given, wanted in shown)


def in_words(shown: Examples) -> str:
    """Returns the question in English, with an explanation of the language, for a pretrained model."""
    meanings = "\n".join(f"{word}: {meaning}" for word, meaning in MEANINGS.items())
    examples = "\n".join(f"{list(given)} -> {list(wanted)}" for given, wanted in shown)
    return (
        "A program is a row of words. From left to right, each word changes a list of digits; arithmetic is modulo "
        f"{BASE}. The words:\n{meanings}\n\nFind a program of at most {LONGEST} words that does this, and the same "
        f"with other lists:\n{examples}\n\nAnswer with the program alone, in round brackets: (word word)"
    )


def _spell(row: Sequence[int]) -> str:
    return " ".join(map(str, row))


def _source(name: str, ask: Callable[[Examples], str]) -> Callable[[str, int, int | None], Problem]:
    def source(split: str, index: int, level: int | None = None) -> Problem:
        drawn = random_of("synthesis", split, index, "level").randint(*LEVELS) if level is None else level
        random = random_of("synthesis", split, index, drawn)
        while True:
            program, key = _program(random, drawn, held_out=split == "test")
            examples = _examples(random, program)
            if examples is not None:
                break
        shown, hidden = examples
        facts = {"program": list(program), "shown": _plain(shown), "hidden": _plain(hidden), "index": index}
        return Problem(ask(shown), task=name, key=key, facts=facts, level=drawn)

    return source


def _plain(examples: Examples) -> list[list[list[int]]]:
    return [[list(given), list(wanted)] for given, wanted in examples]


def _given(problem: Problem, which: str) -> Examples:
    rows = cast("Sequence[tuple[Sequence[int], Sequence[int]]]", problem.facts[which])
    return tuple((tuple(given), tuple(wanted)) for given, wanted in rows)


def _made_with(problem: Problem) -> Program:
    return tuple(cast("Sequence[str]", problem.facts["program"]))


# ---------------------------------------------------------------------------------------------------------- scoring
def read_program(reply: str) -> Program | str:
    """Parses the answer after the thought as a program; returns an error message instead if it is not one.

    The answer must be words of the language in round brackets, separated by single spaces. The number of words is not
    checked.
    """
    answer = split_thought(reply)[1]
    if answer is None:
        return "the thought never ended"
    found = ANSWER.fullmatch(answer) if len(answer) <= 1000 else None
    if found is None:
        return "the answer is not one program in round brackets"
    program = tuple(found[1].split(" "))
    unknown = next((word for word in program if word not in WORDS), None)
    return program if unknown is None else f"{unknown[:20]!r} is no word of the language"


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 for a program of at most 6 words that reproduces every output, shown and hidden."""
    program = read_program(transcript.reply)
    if isinstance(program, str):
        return Score.unparsed(program)
    answer = spell(program)
    if len(program) > LONGEST:
        return Score.wrong(answer[:200], f"{len(program)} words, and {LONGEST} are allowed")
    for which in ("shown", "hidden"):
        for given, wanted in _given(problem, which):
            made = run(program, given)
            if made != wanted:
                return Score.wrong(answer, f"of {list(given)} ({which}) it makes {list(made)}, not {list(wanted)}")
    return Score.right(answer, f"gives all {SHOWN} outputs that are shown and all {HIDDEN} that are not")


def read(transcript: Transcript) -> str | None:
    """Returns the program that is the answer after the thought; None if it is no program."""
    program = read_program(transcript.reply)
    return None if isinstance(program, str) else spell(program)


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, by the independent interpreter, on the problem's lists and 40 more of up to 8 numbers."""
    words = transcript.answer.replace("(", "( ").replace(")", " )").split()
    inside = words[1:-1]
    if len(words) < 3 or (words[0], words[-1]) != ("(", ")") or not set(inside) <= MEANINGS.keys():
        return Score.unparsed("not one program in round brackets")
    answer = " ".join(words)
    if len(inside) > LONGEST:
        return Score.wrong(answer[:200], "too long")
    does, should = compiled(inside), compiled(_made_with(problem))
    random = random_of("synthesis", "audit", problem.key, cast("int", problem.facts["index"]))
    rows = [given for which in ("shown", "hidden") for given, _ in _given(problem, which)]
    rows += [_numbers(random, 0, 8) for _ in range(40)]
    missed = next((row for row in rows if does(row) != should(row)), None)
    if missed is not None:
        return Score.wrong(answer, f"of {list(missed)} it makes {does(missed)}, not {should(missed)}")
    return Score.right(answer, f"the same as {spell(_made_with(problem))} on {len(rows)} lists")


def spell(program: Sequence[str]) -> str:
    """Returns a program of the list language in the format of an answer: "( word word )"."""
    return f"( {' '.join(program)} )"


# ------------------------------------------------------------------------------------------------------ written out
def trace(program: Program, shown: Examples) -> str:
    """Returns the trace of a program on the shown examples, up to the first failure.

    Each word is followed by its output, and each example by "ok" or "x".
    """
    words: list[str] = []
    for given, wanted in shown:
        row = given
        for word in program:
            row = run((word,), row)
            words += [word, *map(str, row)]
        words.append("ok" if row == wanted else "x")
        if row != wanted:
            break
    return " ".join(words)


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the traces of up to 4 failed candidates and of a right program as the thought, and that program.

    Failed candidates are drawn near the program that the problem was made with. Reinforcement learning has to find
    better guesses, and when a candidate has been checked enough.
    """
    shown, hidden = _given(problem, "shown"), _given(problem, "hidden")
    program = _made_with(problem)
    random = random_of("synthesis", "demonstration", problem.key, cast("int", problem.facts["index"]))
    lines = []
    for _ in range(TRIED):
        if random.random() >= MORE:
            break
        words = [word if random.random() < KEPT else random.choice(tuple(WORDS)) for word in program]
        candidate = tuple(words)
        if not fits(candidate, shown):
            lines.append(trace(candidate, shown))
        elif fits(candidate, hidden):
            program = candidate
            break
    return " ".join([*lines, trace(program, shown)]), spell(program)


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns answers that must score 0, keyed by a description of the fault.

    Each program among them was run and misses an output, or is too long.
    """
    shown, hidden = _given(problem, "shown"), _given(problem, "hidden")
    program = _made_with(problem)
    wrong = {
        "the outputs listed": " ; ".join(_spell(wanted) for _, wanted in shown),
        "a program that is too long": spell(program + ("flip", "flip") * LONGEST),
        "a program without brackets": " ".join(program),
        "a word that is none": spell((*program, "sorted")),
        "two programs": f"{spell(program)} {spell(program)}",
    }
    others = [other for other in neighbours(program) if other and not fits(other, shown + hidden)]
    shorter = next((other for other in others if len(other) < len(program)), None)
    changed = next((other for other in others if len(other) == len(program)), None)
    wrong |= {} if shorter is None else {"a word left out": spell(shorter)}
    wrong |= {} if changed is None else {"another word in one place": spell(changed)}
    return wrong | ({} if fits(("flip", "flip"), shown + hidden) else {"nothing done": spell(("flip", "flip"))})


LIMITS = (
    "No word repeats or branches, so nothing is said of loops, conditions, variables or names.",
    "Every word of the language occurs in training; what is held out is what whole programs do.",
    "Few programs are short: 3 of 16 behaviours are held out at level 1 and 17 of 184 at level 2, so compare by level.",
    "Three examples may fit more than one program: of the shortest that fit, one in ten is wrong at level 4.",
    "Candidates of the demonstrations are drawn near a right program, so the warm start teaches guessing as well.",
)


def _task(name: str, ask: Callable[[Examples], str], symbols: tuple[str, ...]) -> Task:
    return Task(
        name,
        _source(name, ask),
        scorer,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        symbols=symbols,
        limits=LIMITS,
        read=read,
    )


def synthesis() -> Task:
    """Task of finding a program of a few words from three examples, for models trained from scratch.

    Many programs are right. The level, 1 to 4, is the number of words of the program.
    """
    return _task("synthesis", in_symbols, SYMBOLS)


def synthesis_in_words() -> Task:
    """Task of finding a program from three examples, with its language explained: `synthesis` for pretrained models."""
    return _task("synthesis_in_words", in_words, ())

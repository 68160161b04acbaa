"""File trail: follow a chain of 1 to 64 small files with a tool, and keep two balances modulo 10 up to date.

The prompt has two balances and the name of a file. The model writes the balances and the file that it opens; the
environment replies with an entry, an account and an amount, and with the name of the next file, or "end":

    7 0 f12 <think> 7 0 f12 open a +5 f40 2 0 f40 open b +3 f7 2 3 f7 open a +9 end </think> 1 3

The level is the number of files, and so the number of tool turns. Each turn needs only the turn before it, so a model
that knows short trails knows every step of long ones. What grows with the level is the transcript, and the number of
chances for an error: an error is never noticed, and no later turn corrects it.

A turn contains all that the rest needs. A strategy that summarises (`poziomka.thinking.Compaction`) therefore uses the
model's next turn as the summary, and the conversation goes on from it as from a prompt (`HANDOVER`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from poziomka.core.environment import Handover, Reply
from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TRAIN
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript

NAME = "file_trail"
MODULUS = 10
FILES = 80  # names; a trail visits each of its files once
LONGEST = 64  # files of the longest trail
HELD_OUT = 8  # of this many openings, one belongs to the test split and one to the validation split
OPEN, LAST, NOTHING = "open", "end", "none"  # ends a turn; follows the last entry; replies to any other turn
ACCOUNTS = ("a", "b")
SYMBOLS = (
    *map(str, range(MODULUS)),
    *(f"+{amount}" for amount in range(1, MODULUS)),
    *(f"f{number}" for number in range(FILES)),
    *ACCOUNTS,
    OPEN,
    LAST,
    NOTHING,
)
Entry = tuple[str, str, int]  # file, account, amount


def entries_of(problem: Problem) -> list[Entry]:
    """Returns the entries of a problem's trail, (file, account, amount), in the order in which the files are linked."""
    return [_entry(text) for text in str(problem.facts["trail"]).split()]


def _entry(text: str) -> Entry:
    file, account, amount = text.split(",")
    return file, account, int(amount)


def opening_of(problem: Problem) -> tuple[int, int, str]:
    """Returns the balances of a and b and the name of the first file, which the prompt shows."""
    first, second, file = problem.prompt[-1].content.split()
    return int(first), int(second), file


def balances(problem: Problem) -> Iterator[tuple[int, int]]:
    """Yields the balances of a and b before the first entry, and after each entry."""
    first, second, _ = opening_of(problem)
    yield first, second
    for _, account, amount in entries_of(problem):
        first, second = booked(first, second, account, amount)
        yield first, second


def booked(first: int, second: int, account: str, amount: int) -> tuple[int, int]:
    """Returns the balances of a and b after an entry, modulo 10."""
    if account == ACCOUNTS[0]:
        return (first + amount) % MODULUS, second
    return first, (second + amount) % MODULUS


def split_of(first: int, second: int, file: str) -> str:
    """Returns the split of trails with these balances and this file in the prompt: train, validation or test."""
    return {0: "test", 1: "validation"}.get(seed_of(NAME, "opening", first, second, file) % HELD_OUT, TRAIN)


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem (a task's source); `level` is the number of files, None draws it log-uniformly from 1 to 64."""
    random = random_of(NAME, split, index)
    wanted = split if split in SPLITS else TRAIN
    count = min(LONGEST, int((LONGEST + 1) ** random.random())) if level is None else level
    while True:
        first, second = random.randrange(MODULUS), random.randrange(MODULUS)
        files = [f"f{number}" for number in random.sample(range(FILES), count)]
        if split_of(first, second, files[0]) == wanted:
            break
    trail = " ".join(f"{file},{random.choice(ACCOUNTS)},{random.randrange(1, MODULUS)}" for file in files)
    key = f"{first},{second},{files[0]},{count},{seed_of(NAME, trail) % 2**32:08x}"
    problem = Problem.ask(NAME, key, f" {first} {second} {files[0]}", trail=trail)
    *_, last = balances(problem)
    return replace(problem, answer=f"{last[0]} {last[1]}", level=count)


def restart(prompt: Transcript, summary: str, _turns: str) -> Transcript:
    """Returns the prompt of a conversation that goes on: the summary, two balances and the file to open next."""
    return replace(Transcript.of([Message("user", f" {summary}")]), tools=prompt.tools)


HANDOVER = Handover("", restart)


@dataclass(frozen=True)
class Files:
    """An environment: the files of one trail. The model opens one by its name and "open".

    Attributes:
        entries: (file, account, amount) of each file, in the order in which they are linked.
    """

    entries: tuple[Entry, ...]
    stop: tuple[str, ...] = (OPEN,)

    def open(self, _problem: Problem) -> "Reading":
        """Returns a new session."""
        return Reading(self.entries)


@dataclass(frozen=True)
class Reading:
    """A session, which has no state: its reply depends only on the file that the model's last turn opens.

    Attributes:
        entries: those of the environment.
        handover: how a conversation is summarised: by the model's next turn.
    """

    entries: tuple[Entry, ...]
    handover: Handover = HANDOVER

    async def reply(self, transcript: Transcript) -> Reply:
        """Returns the file's entry and the name of the next file, or "end"; "none" if the trail has no such file."""
        words = transcript.spans[-1].text.removesuffix(OPEN).split()
        names = [file for file, _, _ in self.entries]
        if not words or words[-1] not in names:
            return Reply(Span(Author.ENVIRONMENT, f" {NOTHING}"))
        place = names.index(words[-1])
        _, account, amount = self.entries[place]
        following = names[place + 1] if place + 1 < len(names) else LAST
        return Reply(Span(Author.ENVIRONMENT, f" {account} +{amount} {following}"))

    def fork(self) -> "Reading":
        """Returns a copy of the session."""
        return self

    def close(self) -> None:
        """Does nothing: the session has no resources."""


def read(transcript: Transcript) -> str | None:
    """Returns the two balances of the answer after the thought; None if it is anything else."""
    words = transcript.answer.split()
    return " ".join(words) if len(words) == 2 and all(word in SYMBOLS[:MODULUS] for word in words) else None


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the answer after the thought is the two balances after the last entry."""
    said = read(transcript)
    if said is None:
        return Score.unparsed(f"the answer is not two balances from 0 to {MODULUS - 1}")
    *_, right = balances(problem)
    if said == f"{right[0]} {right[1]}":
        return Score.right(said, f"the balances after {problem.level} files")
    return Score.wrong(said, f"the balances after {problem.level} files are {right[0]} and {right[1]}")


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, independent of `scorer`: sums the amounts of each account from the text of the trail."""
    said = transcript.reply.rpartition("</think>")[2].strip()
    if not re.fullmatch(r"\d{1,2} \d{1,2}", said):
        return Score.unparsed("not two numbers")
    trail, begin = str(problem.facts["trail"]), problem.prompt[-1].content.split()
    sums = (sum(map(int, re.findall(rf",{account},(\d+)", trail))) for account in ACCOUNTS)
    right = [str((int(old) + added) % MODULUS) for old, added in zip(begin, sums, strict=False)]
    return Score.right(said) if said.split() == right else Score.wrong(said)


def mistakes(problem: Problem) -> Mapping[str, str]:
    """Returns wrong answers, keyed by the fault: an entry is left out, for example, or booked twice."""
    *before, (first, second) = balances(problem)
    (_, account, amount), *_ = entries_of(problem)
    undone = booked(first, second, account, MODULUS - amount)
    other = ACCOUNTS[account == ACCOUNTS[0]]
    wrong = {
        "the first entry is left out": undone,
        "the first entry is booked twice": booked(first, second, account, amount),
        "the first entry is booked to the other account": booked(*undone, other, amount),
        "the last entry is left out": before[-1],
        "the balances of the prompt": before[0],
        "the balances exchanged": (second, first),
        "a balance that is not reduced modulo 10": (first + MODULUS, second),
        "a balance one more": (first, (second + 1) % MODULUS),
    }
    right = {"one balance only": f"{first}", "a third number": f"{first} {second} 0"}
    return right | {fault: f"{a} {b}" for fault, (a, b) in wrong.items() if (a, b) != (first, second)}


def optimal_turn(heard: Sequence[str], first: int, second: int, file: str) -> str:
    """Returns the next words of the optimal policy: a turn that opens a file, or the end of the thought and the answer.

    The policy opens each file of the trail once, and books each entry; no policy is right with fewer turns, except by
    a guess (1 in 100).

    Args:
        heard: the environment's replies so far, oldest first.
        first: balance of a in the prompt.
        second: balance of b in the prompt.
        file: file in the prompt.
    """
    for reply in heard:
        account, amount, file = reply.split()
        first, second = booked(first, second, account, int(amount))
    return f" </think> {first} {second}" if file == LAST else f" {first} {second} {file} {OPEN}"


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the turns of the optimal policy as the thought, which the environment answers, and the last balances."""
    *turns, (first, second) = balances(problem)
    files = [file for file, _, _ in entries_of(problem)]
    thought = " ".join(f"{a} {b} {file} {OPEN}" for (a, b), file in zip(turns, files, strict=True))
    return thought, f"{first} {second}"


def references(problem: Problem, tokens: int) -> Mapping[str, Sequence[float]]:
    """Returns the probabilities that known policies succeed within 0, 1, … `tokens` thinking tokens.

    The optimal policy writes four tokens for each file and closes the thought; the other one guesses both balances.
    """
    needed = 4 * problem.level + 1
    return {
        "a guess": [1 / MODULUS**2] * (tokens + 1),
        "the optimal policy": [1.0 if count >= needed else 1 / MODULUS**2 for count in range(tokens + 1)],
    }


LIMITS = (
    "Each turn needs only the turn before it; nothing is said about tasks whose turns need what was read long ago.",
    "Held-out trails share no prompt with training; every sum of a balance and an amount occurs in training.",
    "The files never change and replies never fail, so nothing is said about recovery from errors.",
)


def file_trail() -> Task:
    """Task of following a chain of files with a tool, one turn a file, with two balances; the level is their number."""
    return Task(
        NAME,
        source,
        scorer,
        environment=lambda problem: Files(tuple(entries_of(problem))),
        read=read,
        levels=(1, LONGEST),
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        symbols=SYMBOLS,
        limits=LIMITS,
        splits=SPLITS,
        kind=lambda problem: problem.key.rpartition(",")[0].rpartition(",")[0],  # the prompt
        references=references,
    )

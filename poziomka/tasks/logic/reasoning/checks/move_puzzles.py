"""Judges of puzzles with pouring, swapping, stacking and walking: an answer is a sequence of legal moves.

Every judge takes a problem's facts and an answer, and returns the fault of the answer, "" if it is right.
"""

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread, read_json
from poziomka.tasks.reasoning_gym_package import library

Facts = Mapping[str, Any]
State = TypeVar("State", bound=Hashable)
Move = TypeVar("Move")


def shortest(
    start: State, steps: Callable[[State], Iterable[tuple[Move, State]]], done: Callable[[State], bool]
) -> list[Move] | None:
    """Returns a shortest list of moves to a state that is `done`, by breadth-first search; None if none exists.

    Args:
        start: the first state.
        steps: yields the legal moves from a state, each with the state after it.
        done: whether a state is a goal.
    """
    came: dict[State, tuple[State, Move] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if done(state):
            moves = []
            while (before := came[state]) is not None:
                state, move = before
                moves.append(move)
            return moves[::-1]
        for move, following in steps(state):
            if following not in came:
                came[following] = (state, move)
                queue.append(following)
    return None


# ------------------------------------------------------------------------------------------------------------ jugs
def _poured(state: tuple[int, ...], move: str, capacities: Sequence[int]) -> tuple[int, ...]:
    """Returns the contents of the jugs after the move "fill A", "empty A" or "pour A->B".

    Raises:
        Unread: the move has another form or names a jug that does not exist.
    """
    found = re.fullmatch(r"(?:(fill|empty) ([A-Z])|pour ([A-Z])->([A-Z]))", move)
    if found is None:
        message = f"{move[:50]!r} is no move"
        raise Unread(message)
    places = [ord(jug) - ord("A") for jug in found.groups()[1:] if jug]
    if max(places) >= len(capacities) or len(set(places)) < len(places):
        message = f"there are no such jugs: {move}"
        raise Unread(message)
    after = list(state)
    if found[1]:
        after[places[0]] = capacities[places[0]] if found[1] == "fill" else 0
    else:
        one, other = places
        amount = min(after[one], capacities[other] - after[other])
        after[one] -= amount
        after[other] += amount
    return tuple(after)


def least_pours(capacities: Sequence[int], target: int) -> list[str] | None:
    """Returns a shortest list of moves after which some jug contains the target; None if there is none.

    A move is "fill A", "empty A" or "pour A->B"; at first all jugs are empty.
    """
    jugs = range(len(capacities))

    def steps(state: tuple[int, ...]) -> Iterable[tuple[tuple[int, int], tuple[int, ...]]]:
        for one in jugs:
            held = state[one]
            if held < capacities[one]:
                yield (one, one), (*state[:one], capacities[one], *state[one + 1 :])
            if not held:
                continue
            yield (one, -1), (*state[:one], 0, *state[one + 1 :])
            for other in jugs:
                amount = min(held, capacities[other] - state[other])
                if amount and other != one:
                    after = list(state)
                    after[one] -= amount
                    after[other] += amount
                    yield (one, other), tuple(after)

    moves = shortest((0,) * len(capacities), steps, lambda state: target in state)
    return None if moves is None else [_poured_name(*move) for move in moves]


def _poured_name(one: int, other: int) -> str:
    """Returns the text of a move of jugs, which are numbered from 0.

    Args:
        one: the jug that is filled, emptied or poured out.
        other: the jug that it is poured into; `one` to fill it, and -1 to empty it.
    """
    jug = chr(ord("A") + one)
    if other == one:
        return f"fill {jug}"
    return f"empty {jug}" if other < 0 else f"pour {jug}->{chr(ord('A') + other)}"


def judge_pours(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a jug puzzle, given the problem's facts; "" if it is right.

    A right answer is a JSON list of moves, such as "fill A" and "pour A->B", after which some jug contains the target.

    Raises:
        Unread: the answer is not a JSON list of such moves.
    """
    moves = _texts(answer)
    state: tuple[int, ...] = (0,) * len(facts["capacities"])
    for move in moves:
        state = _poured(state, move, facts["capacities"])
    return "" if facts["target"] in state else f"at the end the jugs hold {list(state)}, and not {facts['target']}"


def _texts(answer: str) -> list[str]:
    found = read_json(answer)
    if not isinstance(found, list) or not all(isinstance(move, str) for move in found):
        message = "the answer is not a list of texts"
        raise Unread(message)
    return found


# --------------------------------------------------------------------------------------------------------- knights
def beside(one: str, other: str) -> bool:
    """Whether two squares, such as "B3" and "C1", are a knight's move apart."""
    across, along = abs(ord(one[0]) - ord(other[0])), abs(int(one[1:]) - int(other[1:]))
    return {across, along} == {1, 2}


def least_swap(
    board: Mapping[str, Sequence[str]], pieces: Mapping[str, str | None], start_turn: str = "w"
) -> list[tuple[str, str, str]] | None:
    """Returns a shortest list of moves that swaps white and black knights, which move in turn; None if there is none.

    Args:
        board: squares that are a knight's move away, by square.
        pieces: color of the knight on each square, "w" or "B"; None for an empty square.
        start_turn: the color that moves first.

    Returns:
        Moves as (color, start, goal).
    """
    squares = sorted(board)
    near = [[squares.index(other) for other in board[square]] for square in squares]
    white, black = (sum(1 << i for i, s in enumerate(squares) if pieces[s] == color) for color in "wB")

    def steps(state: tuple[int, int, int]) -> Iterable[tuple[tuple[str, str, str], tuple[int, int, int]]]:
        mover, other, turn = state
        for place, neighbours in enumerate(near):
            if mover >> place & 1:
                for goal in neighbours:
                    if not (mover | other) >> goal & 1:
                        after = mover ^ (1 << place) ^ (1 << goal)
                        yield ("wB"[turn], squares[place], squares[goal]), (other, after, 1 - turn)

    first = "wB".index(start_turn)
    start = (white, black, 0) if first == 0 else (black, white, 1)

    def done(state: tuple[int, int, int]) -> bool:
        mover, other, turn = state
        return (mover, other) == ((black, white) if turn == 0 else (white, black))

    return shortest(start, steps, done)


def judge_swap(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a knight swap puzzle, given the problem's facts; "" if it is right.

    A right answer is a JSON list of moves such as "w,A1,B3", by the colors in turn, that swaps the knights; or "No" if
    that is impossible.

    Raises:
        Unread: the answer is not a JSON list of strings, where a swap is possible.
    """
    if not facts["possible"]:
        return "" if answer in ("No", "no", '"No"') else "the knights cannot be swapped"
    pieces: dict[str, str | None] = dict(facts["pieces"])
    turn = facts["turn"]
    for move in _texts(answer):
        parts = move.split(",")
        if len(parts) != 3 or parts[0] != turn or pieces.get(parts[1], "") != turn:
            return f"{move[:50]!r} moves no knight whose turn it is"
        _, start, goal = parts
        if goal not in pieces or pieces[goal] is not None or not beside(start, goal):
            return f"{move[:50]!r} does not go to an empty square that is a knight's move away"
        pieces[start], pieces[goal] = None, turn
        turn = "B" if turn == "w" else "w"
    swapped = {"w": "B", "B": "w", None: None}
    right = all(piece == swapped[pieces[square]] for square, piece in facts["pieces"].items())
    return "" if right else "the knights are not swapped at the end"


# ----------------------------------------------------------------------------------------------------------- hanoi
def judge_tower(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of the tower of Hanoi, given the problem's facts; "" if it is right.

    A right answer is lines such as "Move disk 1 from Peg 2 to Peg 3", all legal, that bring all disks to the target.

    Raises:
        Unread: a line has another form.
    """
    pegs: dict[int, list[int]] = {peg: [] for peg in range(1, facts["pegs"] + 1)}
    pegs[facts["start"]] = list(range(facts["disks"], 0, -1))
    for line in answer.split("\n"):
        found = re.fullmatch(r"Move disk (\d{1,2}) from Peg (\d) to Peg (\d)", line.strip(), re.ASCII)
        if found is None:
            message = f"{line[:50]!r} is no move"
            raise Unread(message)
        disk, start, goal = map(int, found.groups())
        if start not in pegs or goal not in pegs or start == goal or pegs[start][-1:] != [disk]:
            return f"disk {disk} cannot be moved from peg {start} to peg {goal}"
        if pegs[goal] and pegs[goal][-1] < disk:
            return f"disk {disk} is larger than the one it is put on"
        pegs[goal].append(pegs[start].pop())
    return "" if len(pegs[facts["target"]]) == facts["disks"] else "not all disks are on the target at the end"


# ----------------------------------------------------------------------------------------------------------- walks
WAYS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def judge_path(facts: Facts, answer: str) -> str:
    """Returns the fault of a path through a grid, given the problem's facts; "" if it is right.

    A right answer is a shortest list of directions (up, down, left, right) from * to # through open cells, or
    "infeasible" if there is no path.

    Raises:
        Unread: a word of the answer is no direction, where there is a path.
    """
    if facts["length"] == 0:
        return "" if answer == "infeasible" else "there is no path"
    lines = facts["grid"]
    cells = {(i, j): cell for i, line in enumerate(lines) for j, cell in enumerate(line)}
    here = next(place for place, cell in cells.items() if cell == "*")
    ways = answer.split()
    for way in ways:
        if way not in WAYS:
            message = f"{way[:50]!r} is no direction"
            raise Unread(message)
        here = (here[0] + WAYS[way][0], here[1] + WAYS[way][1])
        if cells.get(here, "X") == "X":
            return f"the path leaves the open cells at {here}"
    if cells[here] != "#":
        return "the path does not end at #"
    return "" if len(ways) == facts["length"] else f"a path of {facts['length']} steps is shorter"


def judge_ladder(facts: Facts, answer: str) -> str:
    """Returns the fault of a word ladder, given the problem's facts; "" if it is right.

    A right answer is words of the package's list, from start to end, separated by commas, each one letter different
    from the word before.
    """
    rungs = answer.split(",")
    if (rungs[0], rungs[-1]) != (facts["start"], facts["end"]) or len(rungs) < 2:
        return f"the ladder does not lead from {facts['start']} to {facts['end']}"
    known = _known(len(facts["start"]))
    for one, other in pairwise(rungs):
        if other not in known:
            return f"{other[:50]!r} is not in the package's list of words"
        if sum(a != b for a, b in zip(one, other, strict=True)) != 1:
            return f"{one} and {other} do not differ in one letter"
    return ""


def _known(size: int) -> frozenset[str]:
    """Returns the words of a length that reasoning-gym's word ladders may use, in capital letters."""
    ladders = library("reasoning_gym.algorithmic.word_ladder").WordLadderDataset
    if size not in _WORDS:
        _WORDS[size] = frozenset(ladders._load_words_from_csv(size, size)[size])  # noqa: SLF001 no public way
    return _WORDS[size]


_WORDS: dict[int, frozenset[str]] = {}


def judge_buttons(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a quantum lock puzzle, given the problem's facts; "" if it is right.

    A right answer is buttons, separated by arrows, that are active when pressed and reach the target in the fewest
    presses.

    Raises:
        Unread: the answer contains anything but names of buttons, with arrows, commas or spaces between them.
    """
    names = re.split(r"\s*(?:→|->|,|\s)\s*", answer)
    buttons = {button["name"]: button for button in facts["buttons"]}
    if not all(name in buttons for name in names):
        message = "the answer is not a row of buttons with arrows between them"
        raise Unread(message)
    value, light = facts["value"], facts["light"]
    for name in names:
        button = buttons[name]
        if button["active_state"] not in (light, "any"):
            return f"button {name} is not active when the light is {light}"
        other = button["value"]
        value = {"add": value + other, "subtract": value - other, "multiply": value * other}[button["type"]]
        light = "green" if light == "red" else "red"
    if value != facts["target"]:
        return f"the number is {value} at the end, and not {facts['target']}"
    return "" if len(names) == facts["presses"] else f"{facts['presses']} presses are enough"

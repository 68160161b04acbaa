"""Filters for problems of reasoning-gym with a wrong answer or an ambiguous question.

Every filter computes the answer independently. It returns the fault of a problem, "" if there is none. A problem with a
fault is left out, and another one is drawn instead. docs/log.md has the rate of each filter.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any

from poziomka.tasks.logic.reasoning.checks.board_puzzles import turned
from poziomka.tasks.logic.reasoning.checks.logic import concluded, follows
from poziomka.tasks.logic.reasoning.checks.move_puzzles import beside, least_swap
from poziomka.tasks.logic.reasoning.checks.puzzles import exact
from poziomka.tasks.logic.reasoning.upstream_patches import lived
from poziomka.tasks.reasoning_gym_package import library, registry

Item = dict[str, Any]


def basic_arithmetic(item: Item) -> str:
    """Returns the fault of an item if the answer is not the exact value, else "".

    The package rounds quotients down.
    """
    value = exact(item["metadata"]["expression"])
    return "" if value is not None and str(value) == item["answer"] else f"the value is {value}, not {item['answer']}"


def decimal_arithmetic(item: Item) -> str:
    """Returns the fault of an item if the answer is not the exact value, rounded once, else "".

    The package rounds after every operation.
    """
    expression = item["question"].rpartition("\n")[2].removesuffix(" = ?")
    found = re.search(r"maximum of (\d+) significant", item["question"])
    value = exact(re.sub(r"(\d+)\.(\d+)", lambda n: f"({int(n[1] + n[2])}/1{'0' * len(n[2])})", expression))
    if value is None or found is None:
        return "it divides by zero"
    context = Context(prec=int(found[1]), rounding=ROUND_HALF_UP)
    rounded = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return "" if rounded == Decimal(item["answer"]) else f"the value is {rounded}, not {item['answer']}"


def complex_arithmetic(item: Item) -> str:
    """Returns the fault of an item if a number is 2**50 or more, else "".

    The package computes in floating point, which is not exact for such numbers.
    """
    facts = item["metadata"]
    largest = max(map(abs, (*facts["num1"], *facts["num2"], *facts["result"])))
    return "" if largest < 2**50 else "a number is too large to be exact"


def polynomial_equations(item: Item) -> str:
    """Returns the fault of an item if the equation has no real solution, and the answer is empty, else ""."""
    return "" if item["answer"] else "there is no real solution"


def time_intervals(item: Item) -> str:
    """Returns the fault of an item if it ends before it starts, or its milliseconds are wrong, else ""."""
    facts = item["metadata"]
    passed = datetime.fromisoformat(facts["end_time"]) - datetime.fromisoformat(facts["start_time"])
    if passed < timedelta(0):
        return "the end lies before the start"
    if not item["answer"].count("."):
        return ""
    milliseconds = passed // timedelta(milliseconds=1) % 1000
    right = item["answer"].endswith(f".{milliseconds:03d}")
    return "" if right else f"the milliseconds are {milliseconds:03d}, and not {item['answer']}"


def sentence_reordering(item: Item) -> str:
    """Returns the fault of an item if the sentence has a repeated word, else "".

    The package puts the occurrences of such a word side by side.
    """
    words = item["answer"].casefold().split()
    return "" if len(set(words)) == len(words) else "a word occurs twice"


def letter_jumble(item: Item) -> str:
    """Returns the fault of an item if no word is scrambled, else ""."""
    facts = item["metadata"]
    return "" if facts["scrambled_words"] != facts["original_words"] else "no word is scrambled"


def needle_haystack(item: Item) -> str:
    """Returns the fault of an item if two people are right answers to the question, else ""."""
    asked = item["metadata"]["question"].removeprefix("Who ").partition("?")[0]
    return "" if item["question"].count(f" {asked}. ") == 1 else "two people do what is asked for"


def game_of_life_halting(item: Item) -> str:
    """Returns the fault of an item if the answer is wrong, as a simulation shows, else "".

    The package ignores that patterns may meet across the edges, and that a game that does not oscillate need not halt.
    """
    numpy = library("numpy")
    rows = re.findall(r"\[([01 ]+)\]", item["question"].rpartition("Initial board:")[2])
    board = numpy.array([[int(cell) for cell in row.split()] for row in rows])
    halted = any(not state.any() for state in lived(board, item["metadata"]["simulation_steps"]))
    return "" if str(halted) == item["answer"] else f"whether it halts is {halted}, not {item['answer']}"


def mahjong_puzzle(item: Item) -> str:
    """Returns the fault of an item if the result of the last round is wrong, else "".

    The package decides the result of a round before it draws the card.
    """
    last = item["metadata"]["rounds"][-1]
    card, cards = last["add"], list(last["cards"])
    cards.remove(card)
    hand = [*cards, last["remove"]]
    places = {ord(other) - ord(card) for other in hand}
    chi = any({one, other} <= places for one, other in ((-2, -1), (-1, 1), (1, 2)))
    result = "Peng" if hand.count(card) >= 2 else "Chi" if chi else "Pass"
    return "" if result == item["answer"] else f"the result is {result}, not {item['answer']}"


def syllogism(item: Item) -> str:
    """Returns the fault of an item if the answer is wrong, else "".

    The package ignores undistributed middle terms, and one of two premises.
    """
    facts = item["metadata"]
    valid = follows((facts["premise1"], facts["premise2"]), facts["conclusion"])
    right = valid is not None and ("Yes" if valid else "No") == item["answer"]
    return "" if right else f"whether it follows is {valid}, not {item['answer']}"


def family_relationships(item: Item) -> str:
    """Returns the fault of an item if the relation is wrong, else "".

    The package confuses nephew and niece, and the sides of in-laws.
    """
    facts = item["metadata"]
    settings = registry()[0]["family_relationships"][1]()
    female = facts["person1"] in settings.female_names
    if facts["relationship"].endswith("in-law"):
        return "the answer says what the second person is to the first"
    if facts["relationship"] in ("niece", "nephew") and (facts["relationship"] == "niece") != female:
        return f"{facts['person1']} is no {facts['relationship']}"
    return ""


def knight_swap(item: Item) -> str:
    """Returns the fault of an item if the answer whether a swap is possible is wrong, else "".

    The package omits a connection of its picture.
    """
    facts = item["metadata"]
    squares = sorted(facts["pieces"])
    board = {one: [other for other in squares if beside(one, other)] for one in squares}
    possible = least_swap(board, facts["pieces"], facts["start_turn"]) is not None
    return "" if possible == facts["is_possible"] else f"whether it is possible is {possible}"


def number_format(item: Item) -> str:
    """Returns the fault of an item if several candidates are equal to the answer, else ""."""
    facts = item["metadata"]
    same = sum(candidate == facts["solution"] for candidate in facts["candidates"])
    return "" if same == 1 else "two candidates are the one that is asked for"


def aiw(item: Item) -> str:
    """Returns the fault of an item if the question is about a man who does not occur in the story, else ""."""
    asked = re.search(r"How many sisters does (\w+)'s brother have", item["question"])
    return "" if asked is None or item["question"].count(asked[1]) > 1 else f"nothing is said of {asked[1]}"


def propositional_logic(item: Item) -> str:
    """Returns the fault of an item if the premises contradict each other or allow no short conclusion, else ""."""
    facts = item["metadata"]
    there = concluded(facts["variables"], facts["premises"])
    return "" if there else "no short conclusion follows, or every one"


def rubiks_cube(item: Item) -> str:
    """Returns the fault of an item if the turns of the scramble cancel, so the cube is solved, else ""."""
    facts = item["metadata"]
    return "the cube is solved" if turned(facts["cube_size"], facts["scramble_moves"].split()) else ""


def tsumego(item: Item) -> str:
    """Returns the fault of an item if another move captures as many stones or more, else ""."""
    board = item["metadata"]["board"]
    size = len(board)
    captures = {
        f"{chr(ord('A') + j)}{size - i}": len(captured(board, i, j))
        for i in range(size)
        for j in range(size)
        if board[i][j] == "."
    }
    most = max(captures.values())
    best = [move for move, number in captures.items() if number == most]
    return "" if most and best == [item["answer"]] else f"the best moves are {best}, not {item['answer']}"


def captured(board: list[list[str]], row: int, column: int) -> set[tuple[int, int]]:
    """Returns the white stones (O) that a black stone (X) on an empty point captures, as (row, column)."""
    stones: set[tuple[int, int]] = set()
    for start in _around(board, row, column):
        if board[start[0]][start[1]] != "O" or start in stones:
            continue
        group, free, open_ends = {start}, False, [start]
        while open_ends:
            for place in _around(board, *open_ends.pop()):
                cell = board[place[0]][place[1]]
                free = free or (cell == "." and place != (row, column))
                if cell == "O" and place not in group:
                    group.add(place)
                    open_ends.append(place)
        stones |= set() if free else group
    return stones


def _around(board: list[list[str]], row: int, column: int) -> list[tuple[int, int]]:
    near = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
    return [(i, j) for i, j in near if 0 <= i < len(board) and 0 <= j < len(board)]


def coin_flip(item: Item) -> str:
    """Returns the fault of an item if the answer is off by 1e-9 or more from the probability, else "".

    The package prints ten digits.
    """
    rational = item["metadata"]["rational"]
    value = Fraction(rational["numerator"], rational["denominator"])
    return "" if abs(value - Fraction(item["answer"])) < Fraction(1, 10**9) else "the probability is another"


SOUND: dict[str, Callable[[Item], str]] = {
    check.__name__: check
    for check in (
        aiw,
        basic_arithmetic,
        coin_flip,
        complex_arithmetic,
        decimal_arithmetic,
        family_relationships,
        game_of_life_halting,
        knight_swap,
        letter_jumble,
        mahjong_puzzle,
        needle_haystack,
        number_format,
        polynomial_equations,
        propositional_logic,
        rubiks_cube,
        sentence_reordering,
        syllogism,
        time_intervals,
        tsumego,
    )
}

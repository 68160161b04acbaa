"""Judges of puzzles with moves on a board: sokoban, rush hour, boxes and agents, Rubik's cube.

Every judge takes a problem's facts and an answer, and returns the fault of the answer, "" if it is right.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread, read_json
from poziomka.tasks.logic.reasoning.checks.move_puzzles import shortest
from poziomka.tasks.reasoning_gym_package import library

Facts = Mapping[str, Any]

# --------------------------------------------------------------------------------------------------------- sokoban
TURNS = {"L": (0, -1), "R": (0, 1), "U": (-1, 0), "D": (1, 0)}


def judge_pushes(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a sokoban puzzle, given the problem's facts; "" if it is right.

    A right answer is letters L, D, U, R, each a legal step or push, that bring every box to a goal.

    Raises:
        Unread: the answer is not a row of these letters.
    """
    if not re.fullmatch(r"[LRUD]+", answer, re.ASCII):
        message = "the answer is not a row of the letters L, R, U and D"
        raise Unread(message)
    cells = {(i, j): cell for i, line in enumerate(facts["board"]) for j, cell in enumerate(line)}
    floor = {place for place, cell in cells.items() if cell != "+"}
    boxes = {place for place, cell in cells.items() if cell in "@$"}
    goals = {place for place, cell in cells.items() if cell in "X%$"}
    here = next(place for place, cell in cells.items() if cell in "*%")
    for number, letter in enumerate(answer, 1):
        down, right = TURNS[letter]
        here = (here[0] + down, here[1] + right)
        if here not in floor:
            return f"step {number} goes into a wall"
        if here in boxes:
            behind = (here[0] + down, here[1] + right)
            if behind not in floor or behind in boxes:
                return f"step {number} pushes a box that cannot move"
            boxes.remove(here)
            boxes.add(behind)
    return "" if boxes <= goals else f"{len(boxes - goals)} boxes are not on a goal at the end"


# ------------------------------------------------------------------------------------------------------- rush hour
SIDE = 6
EXIT = SIDE - 2  # column of the red car's left end at the exit
Cars = tuple[tuple[str, int, int, int], ...]  # name, length, index of its row or column, 1 for a column


def _parked(board: str) -> tuple[Cars, tuple[int, ...], frozenset[tuple[int, int]]]:
    """Parses a rush hour board of 36 letters.

    Returns:
        The cars, the place of each car's first cell in its row or column, and the cells (row, column) of the walls.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for number, letter in enumerate(board):
        places.setdefault(letter, []).append(divmod(number, SIDE))
    walls = frozenset(places.pop("x", []))
    places.pop(".", None)
    cars, starts = [], []
    for name, cells in sorted(places.items()):
        upright = int(cells[0][1] == cells[1][1])
        cars.append((name, len(cells), cells[0][1 - (1 - upright)] if upright else cells[0][0], upright))
        starts.append(cells[0][0] if upright else cells[0][1])
    return tuple(cars), tuple(starts), walls


def _covered(car: tuple[str, int, int, int], start: int) -> list[tuple[int, int]]:
    _, length, line, upright = car
    return [(place, line) if upright else (line, place) for place in range(start, start + length)]


def judge_traffic(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a rush hour puzzle, given the problem's facts; "" if it is right.

    A right answer is moves such as "F+1 K-2" through free cells, after which the red car A is at the exit.

    Raises:
        Unread: a word of the answer is no move of a car on the board.
    """
    cars, starts, walls = _parked(facts["board"])
    names = [car[0] for car in cars]
    taken = {
        cell: name for car, start in zip(cars, starts, strict=True) for name in car[0] for cell in _covered(car, start)
    }
    taken |= dict.fromkeys(walls, "x")
    places = list(starts)
    for move in answer.split():
        found = re.fullmatch(r"([A-Z])([+-])([1-4])", move, re.ASCII)
        if found is None or found[1] not in names:
            message = f"{move[:50]!r} is no move"
            raise Unread(message)
        car = cars[number := names.index(found[1])]
        for _ in range(int(found[3])):
            for cell in _covered(car, places[number]):
                del taken[cell]
            places[number] += 1 if found[2] == "+" else -1
            cells = _covered(car, places[number])
            if any(cell in taken or not (0 <= cell[0] < SIDE and 0 <= cell[1] < SIDE) for cell in cells):
                return f"the way of {move} is blocked"
            taken |= dict.fromkeys(cells, car[0])
    return "" if places[names.index("A")] == EXIT else "the red car is not at the exit at the end"


def least_traffic(board: str) -> str | None:
    """Returns the fewest moves that bring the red car to the exit, such as "F+1 K-2"; None if there are none."""
    cars, starts, walls = _parked(board)
    red = [car[0] for car in cars].index("A")

    def mask(number: int, place: int) -> int:
        return sum(1 << (i * SIDE + j) for i, j in _covered(cars[number], place))

    fits = [SIDE - length for _, length, _, _ in cars]
    masks = [[mask(number, place) for place in range(fits[number] + 1)] for number in range(len(cars))]
    fixed = sum(1 << (i * SIDE + j) for i, j in walls)

    def steps(state: tuple[int, ...]) -> Iterator[tuple[tuple[str, int], tuple[int, ...]]]:
        full = fixed
        for number, place in enumerate(state):
            full |= masks[number][place]
        for number, place in enumerate(state):
            rest = full ^ masks[number][place]
            for way in (1, -1):
                goal = place + way
                while 0 <= goal <= fits[number] and not masks[number][goal] & rest:
                    yield (cars[number][0], goal - place), (*state[:number], goal, *state[number + 1 :])
                    goal += way

    moves = shortest(starts, steps, lambda state: state[red] == EXIT)
    return None if moves is None else " ".join(f"{name}{way:+d}" for name, way in moves)


# ------------------------------------------------------------------------------------------------- boxes and agents
Squares = dict[tuple[float, float], Counter[str]]  # contents of each square
SQUARE = r"\[(\d{1,2}\.5), (\d{1,2}\.5)\]"


def judge_boxes(facts: Facts, answer: str) -> str:
    """Returns the fault of a plan that moves boxes to targets, given the problem's facts; "" if it is right.

    A right answer is a JSON list of steps, objects with an action by agent, after which every box is at a target of its
    color. All actions of a step start from the contents of the squares before it.

    Raises:
        Unread: the answer is not a JSON list of objects, or has a malformed action.
    """
    squares = {_square(key): Counter(things) for key, things in facts["squares"].items()}
    plan = read_json(answer)
    if not isinstance(plan, list) or not all(isinstance(step, dict) for step in plan):
        message = "the answer is not a list of actions by agent"
        raise Unread(message)
    for step in plan:
        before: Squares = {}
        for agent, action in step.items():
            trouble = _act(squares, before, agent, action)
            if trouble:
                return trouble
    left = sum(number for things in squares.values() for thing, number in things.items() if thing.startswith("box_"))
    return "" if left == 0 else f"{left} boxes are left at the end"


def _act(
    squares: Squares,
    before: Squares,
    agent: str,
    action: object,
) -> str:
    """Applies an agent's action to `squares`, and returns the fault of the action; "" if it is legal.

    Args:
        squares: contents of the squares now, changed in place.
        before: contents of the squares before the step, as far as known, which the action may use up.
        agent: name of the agent, "Agent[0.5, 1.5]".
        action: "move(box_red, target_red)" or "move(box_red, square[0.5, 2.5])".

    Raises:
        Unread: the agent's name or the action is malformed.
    """
    who = re.fullmatch(rf"Agent{SQUARE}", agent, re.ASCII)
    what = re.fullmatch(rf"move\((box_\w+), (?:(target_\w+)|square{SQUARE})\)", str(action), re.ASCII)
    if who is None or what is None:
        message = f"{agent[:30]!r}: {str(action)[:50]!r} is no action"
        raise Unread(message)
    here, box = (float(who[1]), float(who[2])), what[1]
    if before.setdefault(here, Counter(squares.get(here, ())))[box] < 1:
        return f"{box} is not in the square of {agent}"
    before[here][box] -= 1
    if what[2] is not None:
        if what[2][7:] != box[4:] or squares[here][what[2]] < 1:
            return f"{what[2]} is no target for {box} in the square of {agent}"
        squares[here] -= Counter([box, what[2]])
        return ""
    there = (float(what[3]), float(what[4]))
    if there not in squares or abs(here[0] - there[0]) + abs(here[1] - there[1]) != 1:
        return f"square {list(there)} is not beside {agent}"
    before.setdefault(there, Counter(squares[there]))
    squares[here] -= Counter([box])
    squares[there] += Counter([box])
    return ""


def _square(key: str) -> tuple[float, float]:
    """Parses the name of a square in reasoning-gym, such as "0.5_1.5", into its coordinates."""
    across, along = key.split("_")
    return float(across), float(along)


def carried(squares: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Returns a right plan for `judge_boxes`, which carries one box after another to a target of its color."""
    plan: list[dict[str, str]] = []
    targets = [
        (_square(key), thing[7:]) for key, things in squares.items() for thing in things if thing[:7] == "target_"
    ]
    for key, things in squares.items():
        for box in (thing for thing in things if thing.startswith("box_")):
            here = _square(key)
            goal = min(
                (abs(t[0] - here[0]) + abs(t[1] - here[1]), t, color) for t, color in targets if color == box[4:]
            )
            targets.remove(goal[1:])
            while here != goal[1]:
                axis = 0 if here[0] != goal[1][0] else 1
                step = 1.0 if here[axis] < goal[1][axis] else -1.0
                there = (here[0] + step, here[1]) if axis == 0 else (here[0], here[1] + step)
                plan.append({f"Agent{list(here)}": f"move({box}, square{list(there)})"})
                here = there
            plan.append({f"Agent{list(here)}": f"move({box}, target_{box[4:]})"})
    return plan


# ------------------------------------------------------------------------------------------------------------ cube
TURN = re.compile(r"(?:[1-9]?[LRUDFB]w?|[XYZMES])'?", re.ASCII)
MOST_TURNS = 400


def judge_cube(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a Rubik's cube, given the problem's facts; "" if it is right.

    A right answer is 1 to 400 turns in Singmaster notation, without combined turns, after which every face has one
    color.

    Raises:
        Unread: the answer is not a row of such turns, or the cube has no such layer.
    """
    turns = answer.split()
    if not turns or len(turns) > MOST_TURNS or not all(TURN.fullmatch(turn) for turn in turns):
        message = f"the answer is not a row of 1 to {MOST_TURNS} turns"
        raise Unread(message)
    try:
        done = turned(facts["size"], [*facts["scramble"].split(), *turns])
    except library("magiccube.cube_base").CubeException as error:
        message = f"the cube cannot be turned so: {error}"
        raise Unread(message) from error
    return "" if done else "the cube is not solved at the end"


def turned(size: int, turns: Sequence[str]) -> bool:
    """Whether a cube with `size` layers is solved after these turns of a solved cube."""
    cube = library("magiccube.cube").Cube(size)
    cube.rotate(" ".join(turns))
    return bool(cube.is_done())


def turned_back(scramble: str) -> str:
    """Returns the turns that undo a scramble, in Singmaster notation."""
    return " ".join(turn[:-1] if turn.endswith("'") else f"{turn}'" for turn in reversed(scramble.split()))

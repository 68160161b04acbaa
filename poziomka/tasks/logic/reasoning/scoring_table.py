"""The table of scoring rules: for each data set, how answers are scored and why.

If one answer is right, a parser of answer_parsers.py converts the answer and the gold answer to a normalized form, and
the forms are compared. If many are right, one of our judges checks the answer. The package's own `score_answer` decides
nowhere: it gives partial rewards for parts of the answer, ignores text around it, and executes some answers as code.
docs/log.md and tests/tasks/test_reasoning_gym_flaws.py show answers that it accepted.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from poziomka.core.problem import Problem
from poziomka.tasks.logic.reasoning.checks import answer_parsers as forms
from poziomka.tasks.logic.reasoning.checks import antiderivatives, approximations, logic, puzzles
from poziomka.tasks.logic.reasoning.checks import board_puzzles as boards
from poziomka.tasks.logic.reasoning.checks import move_puzzles as journeys
from poziomka.tasks.logic.reasoning.ruling import LONGEST, Facts, Item, Ruling, cut, many, meta, one, spelled

# ----------------------------------------------------------------------------------------------- parts of the table
SUBSTRING = "ours, by the whole answer: the package pays for a text that holds the answer"
PARTLY = "ours, by the whole answer: the package pays for each part that is right"
EVALUATES = "ours, by the whole answer: the package runs the answer as Python code"
SPACES = "ours: spaces aside, as the package's, which says 1.0 for nothing else"


def _clockwork(item: Item) -> dict[str, Any]:
    facts = meta(item, pieces="pieces", turn="start_turn", possible="is_possible")
    return {**facts, "example": item["answer"]}


def _measured(item: Item) -> dict[str, Any]:
    facts, kind = item["metadata"], item["metadata"]["task_type"]
    rounded = item["answer"].strip("()°").split(", ")
    if kind == "orthocenter":
        return {"exact": list(facts["ortho"]), "rounded": rounded, "places": 3}
    exact = facts["incircle_radius_approx" if kind == "incircle_radius" else "angle_ABC_degrees"]
    return {"exact": [str(exact)], "rounded": rounded, "places": 3 if kind == "incircle_radius" else 2}


def _spellings(item: Item) -> dict[str, Any]:
    facts = item["metadata"]
    shown = facts["formatted_candidates"][facts["candidates"].index(facts["solution"])]
    return {"spellings": [str(facts["solution"]), shown]}


def _buttons(item: Item) -> dict[str, Any]:
    names = {"buttons": "buttons", "value": "initial_value", "light": "initial_state", "target": "target_value"}
    return {**meta(item, **names), "presses": len(item["metadata"]["solution_path"]), "example": item["answer"]}


def _board(item: Item) -> dict[str, Any]:
    lines = item["metadata"]["gamestr"].replace(" ", "").strip().split("\n")
    return {"board": lines, "example": item["answer"]}


def _premises(item: Item) -> dict[str, Any]:
    facts = meta(item, letters="variables", premises="premises")
    return {**facts, "example": logic.concluded(facts["letters"], facts["premises"])}


def _same_digit(_: Facts, answer: str) -> str:
    """Returns a wrong cryptarithm answer, in which the first letter has the digit of the second."""
    first, second = answer.split(",")[:2]
    return answer.replace(first, f"{first[:2]}{second[2:]}", 1)


def _fewer_vertices(_: Facts, answer: str) -> str:
    return json.dumps(dict(list(json.loads(answer).items())[:-1]))


def _no_swap(_: Facts, answer: str) -> str:
    return '["w,A1,B3"]' if answer == "No" else cut(_, answer)


def _plus(facts: Facts, answer: str) -> str:
    return f"{answer} + {facts['variable']}"


def _integrand(item: Item) -> dict[str, Any]:
    return meta(item, integrand="integrand", variable="variable")


def _numbers(item: Item) -> dict[str, Any]:
    return {**meta(item, numbers="numbers"), "target": item["metadata"].get("target", 24), "example": item["answer"]}


def _sorted_numbers(problem: Problem) -> str:
    return f"{sorted(cast('Sequence[int]', problem.facts['numbers']))} {problem.facts['target']}"


def _answer(problem: Problem) -> str:
    """Returns the gold answer as the problem's kind, so that one text in two disguises is never in two splits."""
    return problem.answer


TURNS = (
    "Rotations are clockwise, mirroring horizontally turns the order of the rows round, "
    "and mirroring vertically that of the columns."
)
ANTIDERIVATIVE = (
    "ours, by the derivative at points: the package runs the answer as code, and takes integrate(…) for one"
)
UNCHECKED = "ours: the package does not look whether the numbers are the given ones, and runs the answer as code"

ARC: dict[str, Any] = {"facts": lambda item: meta(item, id="task_id"), "kind": lambda problem: problem.facts["id"]}
RULINGS: dict[str, Ruling] = {
    # algebra
    "complex_arithmetic": spelled(forms.complex_number, "ours, exactly: the package pays by distance"),
    "intermediate_integration": many(
        antiderivatives.judge_antiderivative,
        ANTIDERIVATIVE,
        _integrand,
        example=antiderivatives.integrated,
        mistake=_plus,
    ),
    "polynomial_equations": many(
        approximations.judge_roots,
        "ours, all roots and no other: the package passes over what is no number",
        lambda item: {"roots": item["answer"].split(", "), "example": item["answer"]},
        more="Where these instructions leave a doubt about rounding, take the nearest value.",
    ),
    "polynomial_multiplication": spelled(
        forms.polynomial, "ours, term by term: the package runs the answer as code, and takes expand(…) for one"
    ),
    "simple_equations": one(forms.number, SUBSTRING),
    "simple_integration": many(
        antiderivatives.judge_antiderivative,
        ANTIDERIVATIVE,
        _integrand,
        example=antiderivatives.integrated,
        mistake=_plus,
    ),
    # algorithmic
    "ab": one(forms.row, SPACES),
    "base_conversion": one(forms.word, SUBSTRING),
    "binary_alternation": one(forms.number, SUBSTRING),
    "binary_matrix": one(forms.grid, EVALUATES),
    "caesar_cipher": one(forms.word, SUBSTRING, kind=_answer),
    "count_primes": one(forms.number, SUBSTRING),
    "cryptarithm": many(
        puzzles.judge_letters,
        "ours: the package takes the last of two digits for a letter",
        lambda item: {**meta(item, words="words_letters", result="result_letters"), "example": item["answer"]},
        mistake=_same_digit,
    ),
    "game_of_life": one(forms.data, "ours: the package passes over rows and columns that are too many"),
    "game_of_life_halting": one(forms.word, "ours: the package takes any text at all"),
    "graph_color": many(
        puzzles.judge_colors,
        "ours, as strict as the package's, with one color a vertex",
        lambda item: {
            "vertices": item["metadata"]["puzzle"]["vertices"],
            "edges": item["metadata"]["puzzle"]["edges"],
            "colors": item["metadata"]["puzzle"]["color_options"],
            "example": json.dumps(item["metadata"]["possible_answer"]),
        },
        mistake=_fewer_vertices,
    ),
    "group_anagrams": spelled(forms.groups, "ours, in any order, as the package's"),
    "isomorphic_strings": one(forms.word, SUBSTRING),
    "jugs": many(
        journeys.judge_pours,
        "ours: the package passes over words after a move",
        lambda item: {
            "capacities": item["metadata"]["puzzle"]["jug_capacities"],
            "target": item["metadata"]["puzzle"]["target"],
            "example": item["answer"],
        },
        mistake=cut,
    ),
    "letter_counting": one(forms.number, SUBSTRING),
    "letter_jumble": one(forms.text, PARTLY, kind=_answer),
    "manipulate_matrix": one(forms.grid, SUBSTRING, more=TURNS),
    "number_filtering": spelled(forms.values, SUBSTRING),
    "number_sorting": spelled(forms.values, "ours, exactly: the package lets every number be off by 1"),
    "palindrome_generation": many(
        puzzles.judge_palindrome,
        "ours, as the package's",
        lambda item: {**meta(item, letters="letters"), "example": item["answer"]},
    ),
    "palindrome_partitioning": spelled(
        forms.partitions, "ours: the package takes a text for the list of its letters", longest=LONGEST
    ),
    "pool_matrix": Ruling(
        "ours, to two places: the package lets every number be off by a hundredth of it",
        judge=approximations.judge_pool,
        facts=lambda item: {"rounded": item["answer"], **meta(item, exact="solution")},
        more="Round to two decimal places.",
    ),
    "ransom_note": one(forms.word, SUBSTRING),
    "rotate_matrix": one(forms.grid, SUBSTRING),
    "rotten_oranges": one(forms.number, SUBSTRING),
    "sentence_reordering": one(forms.text, PARTLY, kind=_answer),
    "spell_backward": one(forms.word, PARTLY),
    "spiral_matrix": one(forms.row, EVALUATES),
    "string_insertion": one(forms.text, EVALUATES),
    "string_manipulation": one(forms.text, SUBSTRING),
    "string_splitting": one(forms.row, SUBSTRING),
    "string_synthesis": one(forms.row, SUBSTRING),
    "word_ladder": many(
        journeys.judge_ladder,
        "ours, known words only: the package pays for words that it does not know",
        lambda item: {**meta(item, start="start_word", end="end_word"), "example": item["answer"]},
        mistake=lambda _, answer: answer.rpartition(",")[0],
        more="Separate the words by commas.",
    ),
    "word_sequence_reversal": one(forms.words, SUBSTRING),
    "word_sorting": one(forms.words, PARTLY),
    # arc
    "arc_1d": one(forms.row, SUBSTRING),
    "arc_agi": one(forms.grid, SPACES, **ARC),
    "rearc": one(forms.grid, SPACES, **ARC),
    # arithmetic
    "basic_arithmetic": one(forms.number, SUBSTRING),
    "bitwise_arithmetic": one(forms.hexadecimal, "ours: the package takes a number of any base"),
    "calendar_arithmetic": one(forms.word, "ours: the package pays for weekdays and counts that are wrong"),
    "chain_sum": one(forms.number, SUBSTRING),
    "count_bits": one(forms.number, SUBSTRING),
    "decimal_arithmetic": one(forms.number, "ours, exactly: the package lets the answer be off by a thousandth"),
    "decimal_chain_sum": one(forms.number, "ours, as the package's"),
    "dice": one(forms.fraction, SPACES),
    "fraction_simplification": spelled(forms.fraction, "ours: the package passes over what follows a fraction"),
    "gcd": one(forms.number, SUBSTRING),
    "gsm_symbolic": one(forms.number, "ours: the package takes the first of many numbers, and not its sign"),
    "lcm": one(forms.number, SUBSTRING),
    "leg_counting": one(forms.number, SUBSTRING),
    "number_format": Ruling(
        "ours, exactly: the package takes a candidate that is off by less than a hundredth",
        judge=approximations.judge_choice,
        facts=_spellings,
        gold=lambda item: _spellings(item)["spellings"][1],
    ),
    "power_function": one(
        forms.significant,
        "ours, three digits as asked for: the package rounds the answer itself",
        gold=lambda item: f"{Decimal(item['answer']):.2e}",
    ),
    "prime_factorization": spelled(forms.factors, "ours: the package raises where a factor is no number"),
    "products": one(forms.number, SUBSTRING),
    "time_intervals": one(forms.duration, "ours: the package passes over what follows the number of days"),
    # code
    "bf": one(forms.text, SUBSTRING),
    # cognition
    "color_cube_rotation": one(forms.word, "ours, as the package's"),
    "figlet_font": one(forms.word, PARTLY, kind=_answer),
    "modulo_grid": one(forms.grid, SUBSTRING),
    "needle_haystack": one(forms.word, "ours: the package passes over spaces within the name"),
    "number_sequence": one(forms.number, SUBSTRING),
    "rectangle_count": one(forms.number, "ours: the package pays for counts that are nearly right"),
    "rubiks_cube": many(
        boards.judge_cube,
        "ours, turning the same cube: the package writes out U999999999, and drops turns of inner layers",
        lambda item: {
            **meta(item, size="cube_size", scramble="scramble_moves"),
            "example": boards.turned_back(item["metadata"]["scramble_moves"]),
        },
        mistake=lambda _, answer: f"{answer} R",
    ),
    # games
    "boxnet": many(
        boards.judge_boxes,
        "ours: the package lets a box be moved twice in a step, pays for boxes, and raises where there is no square",
        lambda item: {
            **meta(item, squares="initial_state"),
            "example": json.dumps(boards.carried(item["metadata"]["initial_state"])),
        },
        mistake=cut,
        more="All actions of a step are taken at once, on what stands in the squares before it.",
        longest=60_000,
    ),
    "countdown": many(
        puzzles.judge_expression, UNCHECKED, _numbers, kind=_sorted_numbers, mistake=lambda _, answer: f"{answer} + 1"
    ),
    "emoji_mystery": one(forms.text, PARTLY, kind=_answer),
    "futoshiki": one(forms.grid, PARTLY),
    "kakurasu": many(
        puzzles.judge_weights,
        "ours: the package passes over everything but 0 and 1",
        lambda item: {**meta(item, rows="row_sums", columns="col_sums"), "example": item["answer"]},
    ),
    "knight_swap": many(
        journeys.judge_swap,
        "ours, any swap by legal moves: the package pays for a swap on a board that is not the shown one",
        _clockwork,
        mistake=_no_swap,
    ),
    "mahjong_puzzle": one(forms.word, SUBSTRING),
    "maze": one(forms.number, SUBSTRING),
    "mini_sudoku": one(forms.grid, PARTLY),
    "n_queens": many(
        puzzles.judge_queens,
        "ours: the package runs the answer as Python code",
        lambda item: {**meta(item, board="puzzle"), "example": item["answer"]},
        mistake=lambda _, answer: answer.replace("Q", "_", 1),
    ),
    "puzzle24": many(
        puzzles.judge_expression, UNCHECKED, _numbers, kind=_sorted_numbers, mistake=lambda _, answer: f"{answer} + 1"
    ),
    "rush_hour": many(
        boards.judge_traffic,
        "ours: the package passes over moves that are blocked",
        # from the question, because the metadata names the cars by other letters
        lambda item: {"board": "".join(item["question"].rpartition("Board:")[2].split())},
        example=lambda facts: boards.least_traffic(facts["board"]) or "",
        mistake=lambda _, answer: f"{answer} A-1",
    ),
    "sokoban": many(
        boards.judge_pushes,
        "ours: the package passes over steps into walls, and over everything but four letters",
        _board,
        mistake=lambda _, answer: answer[:-1],
    ),
    "sudoku": one(forms.grid, PARTLY),
    "survo": many(
        puzzles.judge_sums,
        "ours, any filling that adds up: the package takes its own only, and passes over what is no number",
        lambda item: {**meta(item, matrix="puzzle", numbers="candidate_numbers"), "example": item["answer"]},
    ),
    "tower_of_hanoi": many(
        journeys.judge_tower,
        "ours, any legal moves, as asked for: the package pays less for more moves than its own",
        lambda item: {
            **meta(item, disks="num_disks", pegs="num_pegs", start="start_peg", target="target_peg"),
            "example": item["answer"],
        },
        mistake=lambda _, answer: answer.rpartition("\n")[0],
        finite=True,
        longest=20_000,
    ),
    "tsumego": one(forms.word, SUBSTRING, more="Capture as many stones as you can with one move."),
    # geometry
    "advanced_geometry": Ruling(
        "ours: the package passes over further coordinates",
        judge=approximations.judge_measure,
        facts=_measured,
    ),
    "simple_geometry": one(forms.number, SUBSTRING),
    # graphs
    "course_schedule": one(forms.word, SUBSTRING),
    "family_relationships": one(forms.word, "ours, as the package's"),
    "largest_island": one(forms.number, SUBSTRING),
    "path_star": one(forms.row, SPACES),
    "quantum_lock": many(
        journeys.judge_buttons,
        "ours: the package reads the letters A, B and C out of any text",
        _buttons,
        mistake=lambda _, answer: f"{answer} → A",
        more="A button can only be pressed while the light has the color that is given for it.",
    ),
    "shortest_path": many(
        journeys.judge_path,
        "ours, as the package's at 1.0: it pays for longer paths",
        lambda item: {
            "grid": ["".join(row) for row in item["metadata"]["matrix"]],
            "length": len(item["metadata"]["solution"]),
            "example": item["answer"],
        },
        mistake=lambda _, answer: "up" if answer == "infeasible" else f"{answer} up",
    ),
    # induction
    "acre": one(forms.word, SUBSTRING),
    "list_functions": spelled(forms.values, SUBSTRING),
    # logic
    "aiw": one(forms.number, SUBSTRING),
    "circuit_logic": one(forms.word, "ours: the package pays for white space"),
    "knights_knaves": spelled(forms.assignments, "ours: the package passes over every other word, a denial too"),
    "propositional_logic": many(
        logic.judge_conclusion,
        "ours: the package takes a premise again, and anything at all where premises contradict each other",
        _premises,
        mistake=lambda _, answer: f"¬{answer}",
        more="A conclusion that says the same as a single premise, or is a single letter, or is always true, is none.",
    ),
    "self_reference": one(forms.number, SPACES),
    "syllogism": one(forms.word, SUBSTRING, more="Every group that is named has a member."),
    "zebra_puzzles": one(forms.word, SPACES),
    # probability
    "coin_flip": Ruling(
        "ours, four digits or a fraction: the package lets the answer be off by a ten-thousandth, so 0 is often right",
        judge=approximations.judge_probability,
        facts=lambda item: {
            "exact": [item["metadata"]["rational"]["numerator"], item["metadata"]["rational"]["denominator"]]
        },
        gold=lambda item: (
            f"{Decimal(item['metadata']['rational']['numerator']) / item['metadata']['rational']['denominator']:f}"
        ),
        more="Answer with a fraction, or with a decimal number of at least four significant digits.",
        finite=True,
    ),
}
LEFT_OUT: dict[str, str] = {
    "codeio": "its problems are made by running thousands of programs of a file within this process, without limits of "
    "time and memory, and half of them ask for an input of which many are right and one is accepted",
    "composite": "it has no problems of its own: mix tasks with weights instead",
}

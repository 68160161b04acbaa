"""What the package's own scorers say 1.0 to, and ours refuse: one wrong answer for each flaw."""

import json
import re
import sys
from decimal import Decimal
from itertools import pairwise

import pytest

from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.logic.reasoning.checks.board_puzzles import carried, least_traffic
from poziomka.tasks.logic.reasoning.drawing import draw
from poziomka.tasks.logic.reasoning.levels import settings_of
from poziomka.tasks.logic.reasoning.scoring_table import RULINGS
from poziomka.tasks.logic.reasoning_gym import Generator
from poziomka.tasks.reasoning_gym_package import registry


def rows(item, change):
    return "\n".join(" ".join(change(cell) for cell in line.split()) for line in item["answer"].split("\n"))


def twice_in_a_step(item):
    """A plan in which one box is moved twice in a step: into the square of its target, and onto the target."""
    plan = carried(item["metadata"]["initial_state"])
    place = next(i for i, (one, other) in enumerate(pairwise(plan)) if "square" in str(one) and "target" in str(other))
    return json.dumps([*plan[:place], {**plan[place], **plan[place + 1]}, *plan[place + 2 :]])


def shown(item):
    return RULINGS["rush_hour"].facts(item)["board"]


def anything(item):
    return True


FLAWS = {  # name: (step, which items, the wrong answer)
    "advanced_geometry": (
        None,
        lambda item: item["metadata"]["task_type"] == "orthocenter",
        lambda item: item["answer"].replace(")", ", 99)"),
    ),
    "bitwise_arithmetic": (0, anything, lambda item: str(int(item["answer"], 16))),
    "coin_flip": (
        None,
        lambda item: item["metadata"]["rational"]["numerator"] == 1 and item["metadata"]["num_trials"] > 13,
        lambda item: "0",
    ),
    "countdown": (
        None,
        anything,
        lambda item: f"0x{item['metadata']['target']:X} + ({'+'.join(map(str, item['metadata']['numbers']))})*(x - x)",
    ),
    "cryptarithm": (
        0,
        anything,
        lambda item: f"{item['answer'][:2]}{(int(item['answer'][2]) + 1) % 10},{item['answer']}",
    ),
    "decimal_arithmetic": (None, anything, lambda item: str(Decimal(item["answer"]) + Decimal("0.001"))),
    "fraction_simplification": (
        0,
        lambda item: item["metadata"]["style"] == "latex_frac",
        lambda item: f"{item['answer']}, or perhaps 1/2",
    ),
    "game_of_life": (0, anything, lambda item: json.dumps([*json.loads(item["answer"]), [1, 1, 1]])),
    "game_of_life_halting": (0, anything, lambda item: "I do not know"),
    "gsm_symbolic": (None, anything, lambda item: f"-{item['answer']}"),
    "intermediate_integration": (0, anything, lambda item: f"Integral({item['metadata']['integrand']}, x)"),
    "jugs": (0, anything, lambda item: item["answer"].replace('"]', ' and think again"]')),
    "kakurasu": (0, anything, lambda item: item["answer"].replace("\n", " or so\n")),
    "knights_knaves": (0, anything, lambda item: f"{item['answer']} No, none of that holds."),
    "needle_haystack": (0, anything, lambda item: f"{item['answer'][:1]} {item['answer'][1:]}"),
    "number_format": (
        2,
        lambda item: len(set(item["metadata"]["candidates"])) > 1,
        lambda item: str(next(c for c in item["metadata"]["candidates"] if c != item["metadata"]["solution"])),
    ),
    "number_sorting": (
        0,
        anything,
        lambda item: str([str(float(number) + 0.9) for number in item["metadata"]["sorted_numbers"]]),
    ),
    "palindrome_partitioning": (
        1,
        lambda item: any(all(len(part) == 1 for part in row) for row in item["metadata"]["solution"]),
        lambda item: json.dumps(
            ["".join(row) if all(len(part) == 1 for part in row) else row for row in item["metadata"]["solution"]]
        ),
    ),
    "polynomial_equations": (1, lambda item: item["answer"] != "", lambda item: f"{item['answer']}, and I gave up"),
    "polynomial_multiplication": (0, anything, lambda item: f"expand({item['metadata']['polynomial_expr']})"),
    "pool_matrix": (
        0,
        lambda item: float(item["answer"].split()[0]) > 1,
        lambda item: rows(item, lambda cell: str(float(cell) * 1.009)),
    ),
    "prime_factorization": (0, anything, lambda item: item["answer"].translate({48 + i: 0x660 + i for i in range(10)})),
    "propositional_logic": (
        1,
        lambda item: (
            item["metadata"]["premises"][0].startswith("(")
            and registry_score("propositional_logic", 1, item["metadata"]["premises"][0], item) == 1.0
        ),
        lambda item: item["metadata"]["premises"][0],
    ),
    "puzzle24": (None, lambda item: sorted(item["metadata"]["numbers"]) != [1, 1, 4, 6], lambda item: "6 * 4 * 1 * 1"),
    "quantum_lock": (0, anything, lambda item: f"{item['answer'].lower()}, or so"),
    "rush_hour": (
        0,
        anything,
        lambda item: f"{least_traffic(shown(item))}, and then it is out",
    ),
    "simple_integration": (
        0,
        anything,
        lambda item: f"integrate({item['metadata']['integrand']}, {item['metadata']['variable']})",
    ),
    "sokoban": (None, anything, lambda item: f"{item['answer']} is it"),
    "survo": (0, anything, lambda item: rows(item, lambda cell: f"{cell} perhaps")),
    "time_intervals": (
        3,
        lambda item: item["metadata"]["task_type"] == "date",
        lambda item: item["answer"].replace("days", "weeks"),
    ),
    "boxnet": (0, lambda item: "square" in str(carried(item["metadata"]["initial_state"])), twice_in_a_step),
}


def registry_score(name, step, answer, item):
    kind, _ = registry()[0][name]
    return kind(settings_of(name, step)).score_answer(answer, item)


def item_of(name, step, wanted):
    for seed in range(3000):
        try:
            item = draw(name, step, seed * 7919)
        except (ValueError, RuntimeError):
            continue
        if wanted(item):
            return item
    pytest.fail(f"no item of {name} shows the flaw")


def judged(name, item, answer):
    generator = Generator(name, RULINGS[name])
    if generator.ruling.gold is not None:
        item["answer"] = generator.ruling.gold(item)
    problem = generator.asked(item)
    reply = Span(Author.MODEL, f"<think> hm </think> {answer}", stop=Stop.END)
    return generator.scorer(problem, Transcript.of(problem.prompt) + reply)


@pytest.mark.parametrize("name", sorted(FLAWS))
def test_a_wrong_answer_that_the_package_takes_earns_nothing(name):
    step, wanted, wrong = FLAWS[name]
    item = item_of(name, step, wanted)
    answer = wrong(item)
    assert registry_score(name, step, answer, item) == 1.0
    assert judged(name, item, answer).reward == 0.0


def test_part_of_a_reward_for_a_text_that_holds_the_answer_is_refused():
    item = item_of("chain_sum", 0, anything)
    answer = f"{item['answer']} I think"
    assert 0 < registry_score("chain_sum", 0, answer, item) < 1
    assert judged("chain_sum", item, answer).reward == 0.0


@pytest.mark.parametrize("name", ["binary_matrix", "spiral_matrix", "string_insertion", "n_queens", "countdown"])
def test_an_answer_is_never_run_as_code(name, monkeypatch):
    step = None if name == "countdown" else 2 if name == "n_queens" else 0
    item = item_of(name, step, anything)
    code = "__import__('sys').__dict__.__setitem__('answer_ran', 1)"
    monkeypatch.setattr(sys, "answer_ran", 0, raising=False)
    registry_score(name, step, code, item)
    assert sys.answer_ran == 1, "the package does run it"
    sys.answer_ran = 0
    assert judged(name, item, code).reward == 0.0
    assert sys.answer_ran == 0


def test_a_factor_that_is_no_number_does_not_raise():
    item = item_of("prime_factorization", 0, anything)
    with pytest.raises(ValueError):
        registry_score("prime_factorization", 0, "two × three", item)
    assert judged("prime_factorization", item, "two × three").reward == 0.0


def test_turns_of_inner_layers_solve_a_large_cube_though_the_package_drops_them():
    item = item_of("rubiks_cube", 1, lambda item: re.search(r"\d", item["metadata"]["scramble_moves"]))
    solution = RULINGS["rubiks_cube"].facts(item)["example"]
    assert registry_score("rubiks_cube", 1, solution, item) < 1
    assert judged("rubiks_cube", item, solution).reward == 1.0


def test_any_filling_that_adds_up_is_right_though_the_package_takes_its_own_only():
    facts = {"matrix": [[0, 0, 3], [0, 0, 3], [3, 3, 6]], "numbers": [1, 2, 2, 1]}
    judge = RULINGS["survo"].judge
    assert judge(facts, "1 2 3\n2 1 3\n3 3 6") == ""
    assert judge(facts, "2 1 3\n1 2 3\n3 3 6") == ""
    assert judge(facts, "1 1 3\n2 2 3\n3 3 6") != ""

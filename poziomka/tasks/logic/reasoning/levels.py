"""Levels: the steps of reasoning-gym's curricula that are used, and their settings.

A curriculum has attributes, each with a list of values. Level n sets every attribute to its n-th value, or to its last
if the list is shorter. An attribute that is a range spans only one segment of its list, so that a level does not draw
the easy problems of the levels below it. If the table STEPS lists steps of a data set, the others are left out for the
reason given there: the package rejects them, they are slow to draw, or a problem is longer than LONGEST.
"""

from functools import cache
from typing import Any

from poziomka.tasks.reasoning_gym_package import library, registry

LONGEST = 16_000  # largest total length of a question and its answer in characters
SLOW = "the steps above take a tenth of a second a problem or more"
LONG = "questions or answers of the steps above are too long"

STEPS: dict[str, tuple[tuple[int, ...], str]] = {  # counted from 0, as in the package; () for its default settings
    "binary_matrix": ((0, 1, 2), LONG),
    "bf": ((0, 1), SLOW),
    "caesar_cipher": ((0, 1), "the package refuses a rotation of more than 25 letters"),
    "circuit_logic": ((0, 1), LONG),
    "coin_flip": ((), "a step has but a dozen problems: all of them together are one finite task"),
    "countdown": ((), "the steps are slow, and many of them fail"),
    "futoshiki": ((0, 1), SLOW),
    "game_of_life": ((0, 1, 2), LONG),
    "game_of_life_halting": ((0, 1, 2), LONG),
    "jugs": ((0, 1), SLOW),
    "kakurasu": ((0, 1, 2), SLOW),
    "knight_swap": ((), "the package refuses the first step, and the others are slow"),
    "largest_island": ((0, 1, 2), LONG),
    "letter_jumble": ((0, 1), "the package knows no words as long as the steps above need"),
    "mahjong_puzzle": ((0, 1, 2), LONG),
    "manipulate_matrix": ((0, 1, 2), LONG),
    "maze": ((0, 1), SLOW),
    "modulo_grid": ((0, 2, 3), "the package refuses step 1, and steps above 3 are as large as 3"),
    "n_queens": ((2, 3), "steps 0 and 1 have but some dozen problems, and step 4 takes seconds"),
    "needle_haystack": ((0, 1), LONG),
    "number_format": ((0, 1), "above, two candidates or all of them are equal"),
    "number_sorting": ((0, 1), LONG),
    "polynomial_multiplication": ((0, 1), SLOW),
    "pool_matrix": ((0, 1, 2), LONG),
    "propositional_logic": ((1, 2, 3), "step 0 has four problems, and step 4 is slow"),
    "puzzle24": ((), "from step 3 on hardly any numbers make 24, and the package never ends"),
    "rotate_matrix": ((0, 1, 2), LONG),
    "rotten_oranges": ((0, 1, 2), LONG),
    "rubiks_cube": ((0, 1, 2, 3), "the package refuses cubes larger than 6"),
    "self_reference": ((), "the package's generator ignores its difficulty"),
    "sentence_reordering": ((), "in long sentences a word occurs twice, and the package's answer is wrong"),
    "shortest_path": ((0, 1, 2), LONG),
    "sokoban": ((), "the steps ask for ten boxes in any room, and the package never ends"),
    "spell_backward": ((0, 1, 2, 3), "the package knows no words as long as step 4 needs"),
    "spiral_matrix": ((0, 1, 2), LONG),
    "sudoku": ((0, 1), SLOW),
    "tower_of_hanoi": ((), "a step has a dozen problems or fewer: all of them together are one finite task"),
    "word_ladder": ((0, 1), "as many as the curriculum has"),
    "zebra_puzzles": ((0, 1), SLOW),
}
SETTINGS: dict[str, dict[str, object]] = {  # overrides of defaults and curricula
    "sokoban": {"min_boxes": 2, "max_boxes": 4, "max_w": 8, "max_h": 8},  # the default sometimes takes seconds
    "acre": {"size": 5},  # five questions include all three kinds; a single one is always of the same kind
}


def steps_of(name: str) -> tuple[int, ...]:
    """Returns the steps (from 0) of a data set's curriculum that are used as levels, lowest first; () if none are."""
    _, curricula = registry()
    if name in STEPS:
        return STEPS[name][0]
    if name not in curricula:
        return ()
    attributes = curricula[name]().attributes.values()
    return tuple(range(max(len(row.levels) - bool(getattr(row, "ensure_interval", False)) for row in attributes)))


@cache
def settings_of(name: str, step: int | None) -> Any:
    """Returns the config object of a data set of reasoning-gym at a step of its curriculum.

    Args:
        name: name of the data set.
        step: step of the curriculum, from 0; `step=None` gives the data set's default config. In both cases `SETTINGS`
            overrides some values.
    """
    datasets, curricula = registry()
    given = {"size": 1, **SETTINGS.get(name, {})}
    if step is None:
        return datasets[name][1](**given)
    curriculum = curricula[name]()
    curriculum.set_global_level(step)
    base = library("reasoning_gym.coaching.base_curriculum")
    return curriculum.generate_configuration(
        given, base.DefaultCurriculumContext(mode=base.RangeAttributeMode.UPPER_BOUND)
    )

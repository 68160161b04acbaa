"""Writes chain_sum.json: the prompts that both sides of the comparison with TRL answer, reasoning-gym's chain_sum.

    .venv/bin/python benchmarks/chain_sum.py

Two terms of one or two digits. The texts and numbers are those of reasoning-gym 0.1.25, `chain_sum` with min_terms 2,
max_terms 2, min_digits 1, max_digits 2, seed 1: `random.Random(seed + index)` draws the number of terms, of digits,
the terms and the signs, in this order. They are written out here so that neither side needs the package.
"""

import json
import random
from pathlib import Path

FILE = Path(__file__).with_name("chain_sum.json")
TEXT = "State the final answer to the following arithmetic problem: {} ="


def problem(seed, index):
    """Returns a question and its answer."""
    draw = random.Random(seed + index)
    terms, digits = draw.randint(2, 2), draw.randint(1, 2)
    low, high = (0 if digits == 1 else 10 ** (digits - 1)), 10**digits - 1
    numbers = [draw.randint(low, high) for _ in range(terms)]
    signs = [draw.choice(["+", "-"]) for _ in range(terms - 1)]
    words, total = [str(numbers[0])], numbers[0]
    for sign, number in zip(signs, numbers[1:], strict=True):
        words += [sign, str(number)]
        total += number if sign == "+" else -number
    return {"question": TEXT.format(" ".join(words)), "answer": str(total)}


if __name__ == "__main__":
    FILE.write_text(json.dumps([problem(1, index) for index in range(512)], indent=0) + "\n")

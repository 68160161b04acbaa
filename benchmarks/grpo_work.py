"""What grpo_ours.py and grpo_trl.py have in common, whichever environment they run in: their options, and a clock.

Imports of the peers' packages stand in the functions that need them.
"""

import argparse
import time
from pathlib import Path

PROMPTS = Path(__file__).with_name("chain_sum.json")
REWARDS = ("check", "coin", "alternate")
HELP = "coin: a fair coin for each reply; alternate: every second reply of a problem is right, so no group is skipped"


def parser_of(description):
    """Returns a parser of the options that both sides take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="steps that count; one more before them warms up")
    parser.add_argument("--tokens", type=int, default=48, help="most new tokens of a reply")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="0: all the work, and weights that stay")
    parser.add_argument("--reward", choices=REWARDS, default="check", help=HELP)
    return parser


def make_clock():
    """Returns a callback of transformers that reads the clock when training begins and after each step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Whole steps: drawing problems, sampling, scoring, update, and what the trainer does between steps."""

        def __init__(self):
            self.readings = []

        def on_train_begin(self, args, state, control, **_):
            self.readings.append(time.perf_counter())

        def on_step_end(self, args, state, control, **_):
            self.readings.append(time.perf_counter())

    return Clock()

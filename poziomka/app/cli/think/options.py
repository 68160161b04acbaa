"""Options of `poziomka think`."""

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path

from poziomka.app.cli.shell.arguments import positive
from poziomka.core.splits import SPLITS


def options(parser: ArgumentParser) -> None:
    """Adds the options of `poziomka think` to its argument parser."""
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="the folder of a run, smollm2, a folder, a .gguf file, or a name of the hub",
    )
    add("--endpoint", metavar="URL", help="an OpenAI-compatible endpoint that serves MODEL: http://localhost:8000/v1")
    add("--task", metavar="TASK", help="the problems, as `poziomka tasks` lists them (a run's own task)")
    add("--split", default="validation", metavar="|".join(SPLITS), help="which of its problems (validation)")
    add("--problems", type=positive, default=100, metavar="N", help="number of problems (100)")
    add("--replies", type=positive, default=16, metavar="N", help="single replies a problem, for votes (16)")
    add("--samples", type=positive, default=1, metavar="N", help="attempts a problem with each strategy (1)")
    add(
        "--strategies",
        nargs="+",
        metavar="TEXT",
        help="strategies beside single replies and votes, such as rsa:n=8,k=3 (--list prints them)",
    )
    add("--list", action="store_true", help="list the strategies, and how each is written")
    add("--read", metavar="NAME", help="how votes find the answer in a reply: number, boxed, … (the task's own way)")
    add("--temperature", type=float, metavar="T", help="divides the logits (the recipe's, or 1)")
    add("--top-p", type=float, metavar="P", help="sample among the likeliest tokens with this probability in total")
    add("--top-k", type=positive, metavar="K", help="sample among the K likeliest tokens")
    add("--min-p", type=float, metavar="P", help="sample among tokens with this share of the likeliest's probability")
    add("--max-tokens", type=positive, metavar="N", help="most tokens of a reply, its thought included (512 + budget)")
    add("--budget", type=int, metavar="N", help="most thinking tokens of a reply; only for a model that thinks")
    add(
        "--think",
        action=BooleanOptionalAction,
        help="open a thought before each reply, or ask for none (as the model or the run has it)",
    )
    add("--seed", type=int, default=0, metavar="N", help="names the random numbers (0)")
    add("--dtype", metavar="NAME", help="of the weights: bfloat16 or float32 (bfloat16; a run has its own)")
    add("--out", type=Path, metavar="FOLDER", help="folder of the study; one that exists is continued")
    add("--json", action="store_true", help="print JSON instead of a table")

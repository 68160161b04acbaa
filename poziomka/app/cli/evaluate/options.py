"""Options of `poziomka evaluate`, and the check that they fit together."""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path

from poziomka.app.cli.shell.arguments import positive
from poziomka.core.errors import SettingsError
from poziomka.core.splits import SPLITS

CUTS = ("top_p", "top_k", "min_p")  # options without effect on greedy decoding


def options(parser: ArgumentParser) -> None:
    """Adds the options of `poziomka evaluate` to its argument parser."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="the folder of a run, smollm2, a folder, a .gguf file, or a name of the hub")
    add("--endpoint", metavar="URL", help="an OpenAI-compatible endpoint that serves MODEL: http://localhost:8000/v1")
    add("--task", metavar="TASK", help="the problems, as `poziomka tasks` lists them (a run's own task)")
    add("--split", default="test", metavar="|".join(SPLITS), help="which of its problems (test)")
    add("--problems", type=positive, metavar="N", help="number of problems (the recipe's number, or 200)")
    add(
        "--samples",
        "--attempts",
        type=positive,
        metavar="N",
        help="attempts a problem (the recipe's number, or 1)",
    )
    add("--votes", type=positive, metavar="K", help="also the accuracy of the majority of K attempts")
    add("--strategy", metavar="TEXT", help="each attempt: majority:8, best_of:4, … (`poziomka think --list`)")
    add("--effort", metavar="low|medium|high|auto", help="a strategy by its cost; auto decides for each problem")
    add("--study", type=Path, metavar="FOLDER", help="the study whose strategies --effort means (fixed ones)")
    add("--read", metavar="NAME", help="how votes find the answer in a reply: number, boxed, … (the task's own way)")
    add("--temperature", type=float, metavar="T", help="0 takes the likeliest token (the recipe's, or 1)")
    add("--greedy", action="store_true", help="take the likeliest token each time, as --temperature 0 does")
    add("--top-p", type=float, metavar="P", help="sample among the likeliest tokens with this probability in total")
    add("--top-k", type=positive, metavar="K", help="sample among the K likeliest tokens")
    add("--min-p", type=float, metavar="P", help="sample among tokens with this share of the likeliest's probability")
    add("--max-tokens", type=positive, metavar="N", help="most tokens of a reply, its thought included (512 + budget)")
    add(
        "--budget",
        nargs="+",
        action="extend",
        type=int,
        default=[],
        metavar="N",
        help="most thinking tokens, one or many; only for a model that thinks",
    )
    add(
        "--think",
        action=BooleanOptionalAction,
        help="open a thought before each reply, or ask for none (as the model or the run has it)",
    )
    add("--seed", type=int, default=0, metavar="N", help="names the random numbers (0, those of a run's own figures)")
    add("--dtype", metavar="NAME", help="of the weights: bfloat16 or float32 (bfloat16; a run has its own)")
    add("--out", type=Path, metavar="FOLDER", help="where to save the rollouts (runs/evaluate-MODEL-TASK)")
    add("--no-save", action="store_true", help="save nothing")
    add("--json", action="store_true", help="print JSON instead of a table")


def demand_consistent(given: Namespace) -> None:
    """Raises SettingsError for options of `poziomka evaluate` that contradict each other or would have no effect."""
    if given.greedy and given.temperature is not None:
        _refuse("--greedy is temperature 0", f"--temperature {given.temperature:g}")
    if given.greedy or given.temperature == 0:
        greedy = "--greedy" if given.greedy else "--temperature 0"
        for name in CUTS:
            if getattr(given, name) is not None:
                _refuse(f"{greedy} takes the likeliest token", f"--{name.replace('_', '-')}")
        for name in ("samples", "votes"):
            if (getattr(given, name) or 1) > 1:
                _refuse(f"{greedy} gives the same reply each time", f"--{name} {getattr(given, name)}")
    if given.votes is not None and given.samples is not None and given.votes > given.samples:
        message = f"a majority of {given.votes} needs as many attempts: received --samples {given.samples}"
        raise SettingsError(message)
    if given.effort is not None and given.strategy is not None:
        _refuse("--effort names a strategy by its cost", f"--strategy {given.strategy}")
    if given.study is not None and given.effort is None:
        message = f"--study {given.study} is read for --effort: add --effort low|medium|high|auto, or leave --study out"
        raise SettingsError(message)
    if given.read is not None and given.strategy is None and given.effort is None:
        _refuse("--read is for the votes of a strategy, and there is none", "--read")
    if given.budget and min(given.budget) < 0:
        message = f"budgets are thinking tokens, 0 or more: received {min(given.budget)}"
        raise SettingsError(message)
    if given.budget and given.think is False:
        _refuse("--no-think asks for no thought", "--budget, which bounds one")
    if given.budget and given.max_tokens is not None and given.max_tokens <= max(given.budget):
        message = (
            f"--max-tokens bounds the whole reply, its thought included: received {given.max_tokens}, which leaves no "
            f"token for an answer after {max(given.budget)} thinking tokens"
        )
        raise SettingsError(message)
    if given.endpoint is not None and given.dtype is not None:
        _refuse("the precision of the weights is the endpoint's", f"--dtype {given.dtype}")
    if given.no_save and given.out is not None:
        _refuse("--no-save saves nothing", f"--out {given.out}")


def _refuse(fact: str, option: str) -> None:
    message = f"{fact}: leave it out, or leave out {option}"
    raise SettingsError(message)

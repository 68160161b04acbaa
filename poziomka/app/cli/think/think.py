"""`poziomka think`: samples single replies and strategies on one task, and writes accuracy against cost.

A study is a folder with a folder for each cell: the single replies from which votes and the oracle are computed, and
each strategy. A finished cell is read instead of sampled, so that a study that was interrupted is continued.
"""

import json
import re
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poziomka.app.cli.evaluate.evaluate import (
    Plan,
    collected,
    plan_of,
    reader_of,
    result_of,
    strategy_for,
    votes_compare,
)
from poziomka.app.cli.evaluate.options import demand_consistent
from poziomka.app.cli.evaluate.result import described
from poziomka.app.cli.evaluate.saving import RESULTS, demand_free, save
from poziomka.app.cli.evaluate.subject import Subject, subject_of
from poziomka.app.cli.shell.progress import doing
from poziomka.core.errors import RunError, SettingsError
from poziomka.core.rollout import Group
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.rollouts.scoring import Scoring
from poziomka.reports.frontier import Dot, draw_frontier
from poziomka.runs.compare import STUDY
from poziomka.runs.run import Run
from poziomka.runs.storage.disk import in_words, replace_file
from poziomka.runs.tables import aligned
from poziomka.thinking.registry import STRATEGIES, reads_logprobs
from poziomka.thinking.study.efforts import EFFORT, FIXED, SINGLE
from poziomka.thinking.study.findings import SCHEMA, Findings, demand_comparable, findings, rows_of, table_of, values_of

Say = Callable[[str], None]
TABLE = "table.md"  # file of a study
DEFAULT = ("adaptive:16", "best_of:8", "deepconf:8", "revise:3", "rsa:n=4,k=2,rounds=2")


def listed() -> str:
    """Returns the strategies, a line each: how it is written, and what it does."""
    rows = [(name + (f":{row.first.upper()}" if row.first else ""), row.about) for name, row in STRATEGIES.items()]
    lines = aligned(rows, left=2)
    nested = "A strategy contains another after a slash: budget:512/majority:8. Values have names: rsa:n=8,k=3."
    return "\n".join([*lines, "", nested])


def think(given: Namespace) -> tuple[str, Sequence[str]]:
    """Runs `poziomka think`; returns the table or the JSON, and sentences for the user.

    Args:
        given: parsed options of the command.

    Raises:
        PoziomkaError: the model, the task or a strategy cannot be used, or the folder has something else in it.
    """
    given = with_evaluations_options(given)
    demand_consistent(Namespace(**{**vars(given), "read": None}))  # a study has strategies that read answers
    with doing(f"loading {given.model}", always=False):
        subject = subject_of(given)
    texts = strategies_of(subject, given)
    plan = plan_of(subject, given)
    if plan.sampling.temperature == 0:
        message = "a study compares random replies, and temperature 0 gives the same each time: leave it out"
        raise SettingsError(message)
    folder = given.out or Path("runs") / f"think-{_name(Path(given.model).name)}-{_name(subject.task.name)}"
    demand_study(folder)
    most = plan.budgets[-1] if plan.budgets else plan.sampling.max_thinking_tokens
    plan = replace(plan, budgets=(), sampling=replace(plan.sampling, max_thinking_tokens=most))
    cells = [(SINGLE, replace(plan, samples=given.replies))]
    cells += [(text, replace(plan, strategy=text)) for text in texts if text != SINGLE]
    groups: dict[str, Sequence[Group]] = {}
    with Scoring(subject.task) as judge:
        for _, cell in cells:
            strategy_for(subject, cell, judge)  # a text that names none is refused before the first cell
        for number, (text, cell) in enumerate(cells, 1):
            with doing(f"{number} of {len(cells)}: {text}") as say:
                groups[text] = cell_of(folder / _name(text), given, subject, cell, judge, say)
            demand_comparable(groups[SINGLE])
    singles = groups.pop(SINGLE)
    found = findings(singles, groups, reader_of(subject, plan))
    about = {"model": given.model, "task": subject.task_name, "split": given.split, "problems": len(plan.problems)}
    about |= {"replies": given.replies, "samples": plan.samples, "seed": given.seed, **described(plan.sampling)}
    write(folder, found, about)
    figure = figure_of(folder, f"{given.model} on {subject.task.name}", found)
    text = (
        json.dumps({**values_of(found), **about}, ensure_ascii=False, indent=1)
        if given.json
        else "\n".join(aligned(rows_of(found), left=1))
    )
    compared = votes_compare(subject, replace(plan, strategy=FIXED["medium"]))
    cut = Evaluation(singles).cut_off()
    notes = [*subject.notes, *found.notes, *compared, *([f"of the single ones, {cut}: raise --max-tokens"] * bool(cut))]
    return text.rstrip("\n"), [*notes, f"the study is in {folder}; its figure is {figure}"]


def strategies_of(subject: Subject, given: Namespace) -> list[str]:
    """Returns the texts of a study's strategies: those given, or the default ones that the sampler can judge.

    Raises:
        SettingsError: a strategy is unknown, or two have the same folder.
    """
    judges = subject.sampler.capabilities.logprobs
    texts = given.strategies or [text for text in DEFAULT if judges or not reads_logprobs(text)]
    folders: dict[str, str] = {_name(SINGLE): SINGLE}
    for text in dict.fromkeys(texts):
        other = folders.setdefault(_name(text), text)
        if other != text:
            message = f"strategies {other!r} and {text!r} are both saved in the folder {_name(text)}: write them alike"
            raise SettingsError(message)
    return list(dict.fromkeys(texts))


def demand_study(folder: Path) -> None:
    """Raises RunError if a folder cannot be that of a study: it is a file, or has other files, which are kept."""
    with in_words(f"read {folder}"):
        other = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if other and not (folder / SINGLE).is_dir():
            message = f"{folder} has other files than a study: give another folder with --out"
            raise RunError(message)


def with_evaluations_options(given: Namespace) -> Namespace:
    """Returns the options with those of `poziomka evaluate` that a study does not have."""
    absent = {"greedy": False, "votes": None, "strategy": None, "effort": None, "study": None, "no_save": False}
    return Namespace(**{**vars(given), **absent, "budget": [] if given.budget is None else [given.budget]})


def cell_of(folder: Path, given: Namespace, subject: Subject, plan: Plan, judge: Scoring, say: Say) -> Sequence[Group]:
    """Returns the attempts of one cell: read if the cell is finished, else sampled and saved.

    Args:
        folder: folder of the cell, in the format of a saved evaluation.
        given: parsed options of the command.
        subject: the model and the task.
        plan: the problems and how they are attempted.
        judge: workers of the task's scorer.
        say: function that shows a progress message.

    Raises:
        RunError: the folder has something else in it, or cannot be written.
    """
    result = result_of(given, subject, plan)
    demand_free(folder, result, subject.task_name)
    if (folder / "recipe.toml").is_file():
        run = Run.read(folder)
        kept = any(path.stem == result.split for path in run.journals())  # a damaged one can be removed
        if kept and run.results(RESULTS) is not None:
            return run.journal(result.split).groups
    result = replace(result, found={None: Evaluation(collected(subject, plan, judge, say))})
    save(folder, result, subject.task_name)
    return result.found[None].groups


def write(folder: Path, found: Findings, about: Mapping[str, Any]) -> None:
    """Writes study.json, effort.json and table.md to the folder of a study.

    Args:
        folder: the folder.
        found: results of the study.
        about: further fields of study.json: the model, the task, numbers of problems and attempts.

    Raises:
        RunError: a file cannot be written.
    """
    made_for = {name: about[name] for name in ("model", "task")}
    texts = {
        STUDY: json.dumps({**values_of(found), **about}, ensure_ascii=False, indent=1) + "\n",
        EFFORT: json.dumps({"schema_version": SCHEMA, **made_for, **found.efforts}, indent=1) + "\n",
        TABLE: table_of(found),
    }
    for name, text in texts.items():
        with in_words(f"write {folder / name}"):
            replace_file(folder / name, text.encode())


def figure_of(folder: Path, title: str, found: Findings) -> Path:
    """Writes the figure of a study; returns the path of the PNG file."""
    curves = {
        "majority": [(votes * found.reply_tokens, each.mean) for votes, each in found.majority],
        "oracle": [(votes * found.reply_tokens, each.mean) for votes, each in found.oracle],
    }
    if len(found.auto) > 1:
        curves["votes by agreement"] = [(each.fitted.tokens, each.fitted.accuracy.mean) for each in found.auto]
    dots = [Dot(each.name, each.accuracy, each.tokens) for each in found.points]
    return draw_frontier(folder, title, dots, curves)[0]


def _name(text: str) -> str:
    """Returns a text with "-" in place of characters that a folder's name should not have."""
    return re.sub(r"[^\w.-]+", "-", text.removesuffix(".gguf")).strip("-.")

"""`poziomka doctor`: checks the components of a recipe before training, and prints one line for each check."""

import json
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from poziomka.app.doctor import Bench, Finding, Status, coloured, examine, held_for, interpreters_of, parts_of, sandbox
from poziomka.app.settings.recipe import Recipe, read_recipe, recipe_of
from poziomka.core.safety.terminal import visible
from poziomka.core.transcript import Author
from poziomka.learning.monitoring.consistency import precision_of
from poziomka.reports import terminal
from poziomka.reports.words import counted, duration, shortened

MARKS = {Status.PASS: ("pass", "green"), Status.WARN: ("warn", "yellow"), Status.FAIL: ("FAIL", "bold red")}
UP, DOWN, NOTHING = "green", "red", "dim"
NAMES = 20  # width of the column of names
SHOWN = 600  # largest number of characters of a rollout


def doctor(path: Path | None, changes: tuple[str, ...], *, as_json: bool, console: Console | None = None) -> bool:
    """Runs `poziomka doctor` on a recipe: prints the finding of each check; returns whether none failed.

    Args:
        path: file of the recipe, or a run's folder; None for the default recipe.
        changes: settings to change, written name=value.
        as_json: print one JSON object instead of lines.
        console: console to print to; None for stdout.

    Raises:
        SettingsError: the recipe cannot be read.
        PoziomkaError: the recipe cannot be built.
    """
    console = console or terminal.console()
    recipe = read_recipe(path, changes) if path is not None else recipe_of({}, changes)
    began = time.perf_counter()
    bench = Bench(parts_of(recipe))
    if not as_json:
        console.print(Text(_heading(recipe, bench), "bold"))
    findings = []
    for finding in chain(
        held_for(interpreters_of(None if recipe.tools is None else recipe.tools.names)), examine(bench)
    ):
        findings.append(finding)
        if not as_json:
            console.print(line(finding))
    took = time.perf_counter() - began
    well = all(finding.status is not Status.FAIL for finding in findings)
    if as_json:
        print(json.dumps({"ok": well, "seconds": round(took, 3), "checks": [asdict(f) for f in findings]}, indent=2))
        return well
    if "groups" in vars(bench):  # rollouts were sampled
        show_weights(bench, console)
    console.print(Text(_ending(findings, took), "bold" if well else "bold red"))
    return well


def doctor_of_sandbox(*, as_json: bool, console: Console | None = None) -> bool:
    """Runs a few attacks on each interpreter of the sandbox and prints the findings; returns whether none failed.

    Args:
        as_json: print one JSON object instead of lines.
        console: console to print to; None for stdout.
    """
    console = console or terminal.console()
    began, findings = time.perf_counter(), []
    if not as_json:
        console.print(Text("What holds a model's code on this machine", "bold"))
    for finding in sandbox():
        findings.append(finding)
        if not as_json:
            console.print(line(finding))
    well = all(finding.status is not Status.FAIL for finding in findings)
    if as_json:
        took = round(time.perf_counter() - began, 3)
        print(json.dumps({"ok": well, "seconds": took, "checks": [asdict(f) for f in findings]}, indent=2))
        return well
    failed = sum(finding.status is Status.FAIL for finding in findings)
    ending = f"{counted(failed, 'check')} FAILED: run no code there" if failed else "Nothing was reached"
    console.print(Text(f"{ending} ({duration(time.perf_counter() - began)})", "bold" if well else "bold red"))
    return well


def line(finding: Finding) -> Table:
    """Returns the output for one finding: status, name and figure in columns, with the advice on a second line."""
    word, style = MARKS[finding.status]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=4)
    table.add_column(width=NAMES)
    table.add_column(overflow="fold")
    said = Text(visible(finding.figure))
    if finding.advice:
        said.append(f"\n→ {visible(finding.advice)}", style=style)
    table.add_row(Text(word, style), Text(finding.name, "bold"), said)
    return table


def _heading(recipe: Recipe, bench: Bench) -> str:
    model = bench.parts.model
    size = f"{model.parameters_count:,} parameters, {precision_of(model)}"
    return f"Recipe {recipe.name}: task {bench.parts.task.name}, {type(model).__name__.lower()} of {size}"


def _ending(findings: list[Finding], took: float) -> str:
    count = {status: sum(finding.status is status for finding in findings) for status in Status}
    told = [f"{count[Status.PASS]} of {counted(len(findings), 'check')} passed"]
    told += [f"{count[Status.WARN]} to be looked at"] if count[Status.WARN] else []
    told += [f"{count[Status.FAIL]} FAILED: do not train yet"] if count[Status.FAIL] else []
    return f"{', '.join(told)} ({duration(took)})"


def show_weights(bench: Bench, console: Console) -> None:
    """Prints one rollout with positive and one with negative policy weights, coloured by the sign of the weights.

    A token's policy weight is its factor in the loss. Without colour, each stretch of tokens of one author and weight
    is a line that begins with + for a positive weight, - for a negative one, or a space for none.
    """
    found = coloured(bench)
    if not found:
        return
    made_up = " (rewards made up)" if any(r.score.why == "artificial" for r, _ in found) else ""
    meaning = (("made likelier", UP), ("made less likely", DOWN), ("not learned from", NOTHING))
    bright = console.is_terminal and not console.no_color
    console.print()
    console.print(Text(f"What is learned from two rollouts{made_up}", "bold"))
    if bright:
        console.print(Text(), *(Text(*each) for each in meaning), sep="  ")
    for rollout, stretches in found:
        console.print(Text(f"  reward {rollout.score.reward:g}", "bold"))
        if bright:
            text = Text().join(Text(_told(said, author), _style(weight, author)) for said, author, weight in stretches)
            console.print(Padding(_cut(text), (0, 0, 0, 2)))
            continue
        for said, author, weight in stretches:
            sign = "+" if weight > 0 else "-" if weight < 0 else " "
            words = shortened(_told(said, author), SHOWN).replace("\n", " ⏎ ")
            console.print(Text(f"  {sign} {author:<11} {words}"), soft_wrap=True)
    console.print()


def _told(text: str, author: Author) -> str:
    return visible(text) or ("" if author is Author.TEMPLATE else "⟨no text⟩")


def _style(weight: float, author: Author) -> str:
    if weight:
        return UP if weight > 0 else DOWN
    return f"{NOTHING} underline" if author is Author.FORCED else NOTHING


def _cut(text: Text) -> Text:
    """Returns the text, with the middle left out if it is longer than 600 characters (SHOWN)."""
    if len(text) <= SHOWN:
        return text
    half = SHOWN // 2
    return Text.assemble(text[:half], (" […] ", NOTHING), text[-half:])

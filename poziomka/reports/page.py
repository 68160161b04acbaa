"""report.html: a self-contained offline page, generated from the run's folder alone."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from poziomka.reports import alarms, figures, findings, monitors, style
from poziomka.reports.markup import escape, picture, table, tag
from poziomka.reports.reading import BEFORE, Reading, Table, read
from poziomka.reports.transcripts import comparison
from poziomka.reports.words import brief, counted, duration, finite, scaled
from poziomka.runs.run import Run
from poziomka.runs.storage.disk import in_words, replace_file

# CSS variables for the figures' colours; the style sheet gives each a second value for dark mode.
COLOURS = {
    style.PAPER: "paper",
    style.INK: "ink",
    style.MUTED: "muted",
    style.GRID: "line",
    style.BEFORE: "before",
    style.AFTER: "after",
    style.RIGHT: "right",
    style.WRONG: "wrong",
}
COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "flops": ("Compute", lambda amount: scaled(amount, "FLOPs")),
    "tokens": ("Tokens", scaled),
    "seconds": ("Time", duration),
}
THOUGHTS = (  # the lines of the figure of accuracy against tokens
    "Filled dots: one thought, cut off at growing budgets; a small budget shows the cut and not what the model could "
    "answer at once, which the triangles at the left edge show. Diamonds: the same weights made to think, where they "
    "do not always think by themselves."
)
REPLIES = "Filled dots: one reply."  # the same for a model that does not think
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser loads no resources and runs no scripts


def write(run: Run) -> Path:
    """Draws the figures of a run, writes report.html to its folder, and returns the page's path.

    Raises:
        RunError: the folder cannot be written.
    """
    reading = read(run)
    drawn = figures.draw_reading(reading)
    pictures = {path.stem: path.read_text(encoding="utf-8") for path in drawn if path.suffix == ".svg"}
    path = run.folder / "report.html"
    with in_words(f"write the report {path}"):
        replace_file(path, page(reading, pictures).encode("utf-8", "replace"))
    return path


def page(reading: Reading, pictures: Mapping[str, str]) -> str:
    """Returns the HTML of the whole report; `pictures` are the SVG texts of the figures by file name without ".svg"."""
    name, folder = escape(reading.folder.resolve().name), escape(_argument(reading.folder))
    sections = [
        (title, body)
        for title, body in (
            ("The result", _result(reading, pictures)),
            ("Before and after", _rollouts(reading)),
            ("Alarms", alarms.section(reading)),
            ("How training went", _monitors(reading)),
            ("What it cost", _cost(reading)),
            ("Recipe and seeds", _recipe(reading)),
            ("What this does not show", _limits(reading)),
        )
        if body
    ]
    links = "".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title, _ in sections)
    content = "\n".join(
        f'<section id="{_anchor(title)}">\n<h2>{title}</h2>\n{body}\n</section>' for title, body in sections
    )
    style = resources.files("poziomka.reports").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name} · a run of Poziomka</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">A run of Poziomka{_about(reading)}</p>
<h1>{name}</h1>
<p class="headline">{escape(findings.headline(reading))}</p>
{alarms.warning(reading)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{content}
</main>
<footer><p>Made from the run’s folder alone; <code>poziomka report {folder}</code> makes it again,
<code>poziomka show {folder}</code> shows every rollout.</p></footer>
</body>
</html>
"""


def _argument(folder: Path) -> str:
    """Returns a folder as an argument of a command: quoted, and relative to the working directory if it is below it."""
    path = folder.resolve()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else folder))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _about(reading: Reading) -> str:
    task = reading.frontier.get("task") or reading.recipe.get("task")
    return f" · task {escape(task)}" if isinstance(task, str) else ""


def _result(reading: Reading, pictures: Mapping[str, str]) -> str:
    problems, attempts = reading.frontier.get("problems"), reading.frontier.get("attempts")
    drawn = ""
    if isinstance(problems, int) and isinstance(attempts, int):
        drawn = f"{counted(problems, 'held-out problem')}, {counted(attempts, 'attempt')} each. "
    votes = [curve.get("majority_budget") for curve in _tables(reading.frontier.get("curves"))]
    budgets = " or ".join(sorted({brief(budget) for budget in votes if budget is not None}))
    ballot = f" Each vote thinks at a budget of {budgets}." if budgets and reading.thinks else ""
    shown = []
    if "compute" in pictures:
        caption = (
            "Accuracy at validation problems while reinforcement goes on. FLOPs are counted from the tokens really "
            f"sampled and trained; the {reading.named(BEFORE)} is left of the break. Bars and band: 95 % intervals. "
            "Dotted: "
            + ("how long an attempt thinks." if reading.thinks else "mean tokens of a reply.")
            + (f" Dashes and dots: the {reading.named(BEFORE)} made to think." if reading.forced is not None else "")
        )
        shown.append(_figure(pictures["compute"], "compute", findings.compute_alternative(reading), caption))
    if "thinking" in pictures:
        caption = (
            f"{drawn}{THOUGHTS if reading.thinks else REPLIES} Squares: the most common of k answers, all "
            f"their tokens counted.{ballot} Dashed: one of k is right, which needs an oracle to pick it. Bars and "
            "bands: 95 % intervals."
        )
        shown.append(_figure(pictures["thinking"], "thinking", findings.thinking_alternative(reading), caption))
    sentences = (findings.references(reading), findings.gate(reading), findings.forgetting(reading))
    said = "".join(tag("p", sentence) for sentence in sentences if sentence)
    panels = f'<div class="panels">{"".join(shown)}</div>' if shown else tag("p", "There is nothing to draw yet.")
    return panels + _gains(reading) + _numbers(reading) + said


def _figure(svg: str, name: str, alternative: str, caption: str) -> str:
    drawn = picture(svg, name, alternative, COLOURS)
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _tables(values: Any) -> list[Table]:
    every = values.values() if isinstance(values, Mapping) else ()
    return [value for value in every if isinstance(value, Mapping)]


def _gains(reading: Reading) -> str:
    """Returns an HTML table of the gains by reinforcement, paired by problem; "" if there are none."""
    rows = [(said, findings.points(gain)) for said, gain in findings.gains(reading)]
    if not rows:
        return ""
    budget = brief(reading.gains.get("budget"))
    said = f"What reinforcement gained{reading.at(budget)}, paired by problem (95 % interval)"
    return table(said, ("", ""), rows, kind="gains")


def _numbers(reading: Reading) -> str:
    """Returns the numbers of the thinking figure as a collapsed HTML table; "" without curves."""
    if not reading.curves:
        return ""
    points = [
        (reading.named(curve.model), way, point)
        for curve in reading.curves
        for way, line in (
            ("made to answer at once", (curve.at_once,) if curve.at_once else ()),
            ("budget", curve.budgets),
            ("majority of", curve.majority),
            ("any of (oracle)", curve.oracle),
        )
        for point in line
    ]
    way = "way of thinking" if reading.thinks else "way of answering"
    head = ["model", way, "", f"{reading.tokens} spent", "accuracy (95 % interval)"]
    failed = any(point.failures for _, _, point in points)
    if failed:
        head.append("failed checks; accuracy with all of them wrong, all right")
    rows = [
        (
            model,
            way,
            point.label,
            f"{point.x:.1f}",
            findings.interval(point.accuracy),
            *((findings.failures(point),) if failed else ()),
        )
        for model, way, point in points
    ]
    return f"<details><summary>The numbers</summary>{table('Held-out accuracy against thinking', head, rows)}</details>"


def _rollouts(reading: Reading) -> str:
    if not reading.pairs:
        return tag("p", "The folder holds no rollouts of the same problems before and after training.")
    return comparison(reading.pairs)


def _monitors(reading: Reading) -> str:
    moved = findings.curriculum(reading)
    said = tag("p", moved) if moved else ""
    plots = monitors.pictures(reading)
    if not plots:
        return said
    caption = (
        "Against the step. What to watch: a reward that leaves the audit behind, "
        "entropy that falls to nothing, a mismatch between sampler and learner, "
        "a growing share of groups whose attempts all earn the same and teach nothing, truncated thoughts."
    )
    drawn = "".join(
        picture(svg, f"monitor{number}", f"A small plot against the step: {title}.", COLOURS)
        for number, (title, svg) in enumerate(plots.items())
    )
    return f'<figure><div class="monitors">{drawn}</div><figcaption>{escape(caption)}</figcaption></figure>{said}'


def _cost(reading: Reading) -> str:
    tables = []
    for kind, (title, said) in COSTS.items():
        amounts = {
            phase: amount for phase, value in _table(reading.cost.get(kind)).items() if (amount := finite(value))
        }
        if amounts:
            rows = [
                *((phase.replace("_", " "), said(amount)) for phase, amount in amounts.items()),
                ("all", said(sum(amounts.values()))),
            ]
            tables.append(table(title, ("", ""), rows, kind="numbers"))
    if not tables:
        return tag("p", "The folder does not say what the run cost.")
    costs = f'<div class="costs">{"".join(tables)}</div>'
    facts = [f"{scaled(reading.cost['parameters'])} parameters"] if "parameters" in reading.cost else []
    threads = reading.cost.get("threads")
    facts += [counted(threads, "thread")] if isinstance(threads, int) else []
    facts += [str(reading.cost["machine"])] if "machine" in reading.cost else []
    return costs + (tag("p", " · ".join(facts), kind="muted") if facts else "")


def _table(value: Any) -> Table:
    return value if isinstance(value, Mapping) else {}


def _recipe(reading: Reading) -> str:
    settings = list(_settings(reading.recipe))
    seeds = [f"{name} = {value}" for name, value in settings if name.rpartition(".")[2] in ("seed", "seeds")]
    tables: dict[str, list[tuple[str, str]]] = {}
    for name, value in settings:
        where, _, own = name.rpartition(".")
        tables.setdefault(where, []).append((own, value))
    parts = [tag("p", f"Seeds: {', '.join(seeds)}." if seeds else "The recipe names no seed.")]
    shown = "".join(table(where or "run", ("", ""), rows, kind="settings") for where, rows in tables.items())
    parts.append(f'<div class="recipe">{shown}</div>')
    names = ("poziomka", "commit", "python", "torch", "platform", "processor", "cores", "started")
    origin = [(name, brief(reading.origin[name])) for name in names if reading.origin.get(name) is not None]
    resumed = reading.origin.get("resumed")
    if isinstance(resumed, list):
        origin.append(("resumed", ", ".join(f"at step {_table(each).get('step', '?')}" for each in resumed)))
    if origin:
        folded = table("Where the run came from", ("", ""), origin, kind="settings")
        parts.append(f"<details><summary>Versions and machine</summary>{folded}</details>")
    return "".join(parts)


def _settings(values: Table, where: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{where}{name}.")
        elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            for each in value:  # stages, known by their names
                yield from _settings(each, f"{where}{each.get('name', name)}.")
        else:
            yield f"{where}{name}", brief(value)


def _limits(reading: Reading) -> str:
    said = "".join(tag("li", note) for note in reading.notes)
    shown = f"<ul>{said}</ul>" if said else tag("p", "The run's author wrote nothing here.")
    if reading.missing:
        lacking = "".join(tag("li", sentence) for sentence in reading.missing)
        shown += f"<h3>Missing from the folder</h3><ul>{lacking}</ul>"
    return shown

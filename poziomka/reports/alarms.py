"""Report section on alarms, with example rollouts of each, and on failed checks."""

from collections.abc import Mapping
from typing import Any

from poziomka.core.problem import Verdict
from poziomka.reports.markup import escape, table, tag
from poziomka.reports.reading import Reading, Table, examples_of, rung
from poziomka.reports.transcripts import alone, legend
from poziomka.reports.words import finite, percent

WHY = {
    Verdict.UNPARSED: "no answer could be read",
    Verdict.TRUNCATED: "the reply ran into its limit",
    Verdict.ERROR: "the check failed: it raised, or its environment did",
    Verdict.TIMEOUT: "the check failed: it did not return in time",
}
NO_AUDIT = (
    "Whether rewards were earned is unknown: the task has neither an audit nor gold answers, so nobody but its scorer "
    "could say."
)


def section(reading: Reading) -> str:
    """Returns the HTML body of the report's section on alarms and failed checks; "" without reinforcement learning."""
    checks = _checks(reading)
    if not reading.alarms:
        return checks and tag("p", "This run is older than alarms: nothing was watched.") + checks
    found = rung(reading.alarms)
    if not found:
        return tag("p", silence(reading.alarms)) + checks
    authors = {span.author for rollout in reading.flagged.values() for span in rollout.transcript}
    said = "".join(_alarm(alarm, reading) for alarm in found)
    unaudited = "" if reading.alarms.get("audited") else tag("p", NO_AUDIT)
    return (legend(authors) if authors else "") + said + unaudited + checks


def warning(reading: Reading) -> str:
    """Returns the HTML of the warning below the page's headline, which names the raised alarms; "" without any."""
    names = list(dict.fromkeys(str(alarm.get("name", "")) for alarm in rung(reading.alarms)))
    if not names:
        return ""
    said = f"{'An alarm' if len(names) == 1 else f'{len(names)} alarms'} rang: {'; '.join(names)}"
    return f'<p class="warning"><a href="#alarms">{escape(said)}.</a></p>'


def silence(alarms: Table) -> str:
    """Returns the sentences for a run that raised no alarm: which alarms were monitored, if any.

    Args:
        alarms: contents of results/alarms.json.
    """
    watched = alarms.get("watched")
    names = [str(name) for name in watched] if isinstance(watched, list) else []
    if not names:
        return "Nothing was watched: the recipe turned every alarm off."
    listed = names[0] if len(names) == 1 else f"{'; '.join(names[:-1])}; and {names[-1]}"
    said = f"No alarm rang. Watched at every step, against the beginning of reinforcement: {listed}."
    return said if alarms.get("audited") else f"{said} {NO_AUDIT}"


def _alarm(alarm: Table, reading: Reading) -> str:
    name, step, sentence, rule = (alarm.get(key, "") for key in ("name", "step", "sentence", "rule"))
    parts = [
        tag("h3", _capital(name), kind="alarm"),
        tag("p", f"{_capital(sentence)}."),
        tag("p", f"Rang at step {step}. Shown: {rule}; at most one a group, the newest first.", kind="muted"),
    ]
    shown, unread = [], []
    for journal, rollout, audit in examples_of(alarm):
        if rollout in reading.flagged:
            said = f"The audit {audit}." if audit else "No audit."
            shown.append(alone(reading.flagged[rollout], f"{said} Rollout {rollout}, in journal/{journal}.parquet."))
        else:
            unread.append(tag("p", f"Rollout {rollout}, of journal/{journal}.parquet, cannot be read.", kind="muted"))
    return "".join([*parts, f'<div class="sides shown">{"".join(shown)}</div>' if shown else "", *unread])


def _capital(text: Any) -> str:
    said = str(text)
    return f"{said[:1].upper()}{said[1:]}"


def _checks(reading: Reading) -> str:
    """Returns an HTML table of the attempts of reinforcement by verdict; "" if the metrics contain no verdicts."""
    lines = reading.stage("rl")
    counts = {verdict: sum(finite(line.get(f"verdict/{verdict}")) or 0.0 for line in lines) for verdict in Verdict}
    total = sum(counts.values())
    if not total:
        return ""
    rows = [
        (str(verdict), f"{count:,.0f}", percent(count / total, 1), WHY.get(verdict, ""))
        for verdict, count in counts.items()
        if count or verdict in (Verdict.ERROR, Verdict.TIMEOUT)
    ]
    most = finite(_reinforced(reading).get("failures"))
    limit = f"; more than {percent(most)} of them in one step stop the run" if most is not None else ""
    said = tag("p", f"A failed check is no reward, and nothing is learned from it{limit}.", kind="muted")
    return table("Attempts of reinforcement, by verdict", ("verdict", "attempts", "share", ""), rows, "checks") + said


def _reinforced(reading: Reading) -> Table:
    """Returns the settings of the first stage of reinforcement; {} if the run's recipe has none."""
    stages = reading.recipe.get("stage")
    tables = [each for each in stages if isinstance(each, Mapping)] if isinstance(stages, list) else []
    older = reading.recipe.get("reinforce")  # runs of schema 1
    found = [each for each in tables if each.get("kind") == "rl"]
    return found[0] if found else older if isinstance(older, Mapping) else {}

"""Conversion of recipes from schema 1, with its fixed warm start and reinforcement, to schema 2, a list of stages."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poziomka.core.errors import SettingsError
from poziomka.core.settings import read_toml, to_toml

# New names, by table; settings that are not named keep their names.
OPTIMIZER = {
    "rate": "learning_rate",
    "warmup": "warmup_steps",
    "decay": "decay_ratio",
    "floor": "min_lr_ratio",
    "clip": "max_grad_norm",
}
LEARNER = {
    "places": "microbatch_tokens",
    "head_rows": "logit_chunk",
    "checkpointing": "gradient_checkpointing",
    "divergence": "kl",
}
LESSONS = {"tokens": "tokens_per_step", "haste": "cutoff_prob"}
REINFORCE = {
    "problems": "prompts_per_step",
    "attempts": "group_size",
    "tokens": "max_tokens",
    "budget": "max_thinking_tokens",
    "retire_at": "drop_solved_above",
}
MODEL = ("start", "precision", "lora", "context", "thinks", "template_variables", "template_time")
TOP = ("name", "task", "levels", "seed", "threads", "save_every", "watchdog")
NESTED = {  # names inside the tables of a learner
    "optimizer": OPTIMIZER,
    "surrogate": {"cap": "importance_cap", "trust": "trust_region"},
    "correction": {"cap": "importance_cap"},
}
# Where a setting of schema 1 stands in schema 2, by the longest prefix of its dotted name.
MOVED = {
    "warm_start.updates": "sft.steps",
    "warm_start.lessons": "sft.demonstrations",
    "warm_start.learner": "sft",
    "warm_start": "sft",
    "reinforce.learner": "rl",
    "reinforce": "rl",
    "gate.margin": "rl.require.thinking_gain",
    "gate": "rl.require",
    "curriculum": "rl.curriculum",
    "pretrained": "model.load",
    "architecture": "model.new.architecture",
    "model": "model.new",
    "tool_cost": "tools.cost",
    "tool_format": "tools.format",
    **{name: f"model.{name}" for name in MODEL},
}
# Updates of a warm start that schema 1 took where none were given, by the kind of training.
INLINE = 100  # longest line that a table of a stage is written as
STEPS = {"scratch": 1200, "full": 100, "lora": 100}
# Settings of a loaded model that schema 1 took where none were given, and that have other defaults in schema 2.
LOADED: Mapping[str, Mapping[str, Any]] = {
    "model": {"precision": "float32", "thinks": True},
    "rl": {
        "steps": 45,
        "prompts_per_step": 32,
        "group_size": 8,
        "max_tokens": 70,
        "max_thinking_tokens": 64,
        "layout": "rows",
        "microbatch_tokens": 8192,
    },
    "evaluate": {
        "budgets": [2, 4, 8, 16, 32, 64],
        "problems": 400,
        "attempts": 4,
        "votes": [1, 2, 4, 8, 16, 32],
        "vote_problems": 100,
        "vote_budget": 8,
        "every": 5,
        "curve_problems": 250,
        "curve_attempts": 2,
    },
}


def converted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a recipe of schema 1 in schema 2: the same settings, and so the same run.

    Args:
        values: parsed TOML of a recipe of schema 1, or of a run's recipe.toml.

    Raises:
        SettingsError: a value that must be a table is none.
    """
    for name in ("model", "warm_start", "gate", "reinforce", "curriculum", "evaluate"):
        if not isinstance(values.get(name, {}), Mapping):
            message = f"{name} must be a table of settings: received {values[name]!r}"
            raise SettingsError(message)
    found: dict[str, Any] = {"schema_version": 2} | {name: values[name] for name in TOP if name in values}
    model = _model(values)
    if model:
        found["model"] = model
    tools = _tools(values)
    if tools:
        found["tools"] = tools
    sft = [] if values.get("start") is not None else [_sft(values)]
    found["stage"] = [*sft, _rl(values)]
    evaluate = _earlier("evaluate", values) | dict(values.get("evaluate", {}))
    if evaluate:
        found["evaluate"] = evaluate
    return found


def _earlier(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what schema 1 took for a table of a recipe with a loaded model; {} for a new model."""
    return {} if values.get("pretrained") is None else dict(LOADED[table])


def _model(values: Mapping[str, Any]) -> dict[str, Any]:
    loaded = values.get("pretrained") is not None
    new = {name: values[name] for name in ("architecture",) if name in values} | dict(values.get("model", {}))
    model = {"load": values["pretrained"]} | _earlier("model", values) if loaded else {}
    model |= {} if loaded or not new else {"new": new}
    return model | {name: values[name] for name in MODEL if name in values}


def _tools(values: Mapping[str, Any]) -> dict[str, Any]:
    tools: dict[str, Any] = {}
    names = values.get("tools")
    for name in () if names is None else str(names).split("+"):
        kind, _, where = name.strip().partition(":")
        key = {"python": "backend", "search": "folder"}.get(kind)
        tools[kind] = {key: where or "monty"} if key else {}
    costs = {"cost": values.get("tool_cost"), "format": values.get("tool_format")}
    return tools | {name: value for name, value in costs.items() if value is not None and tools}


def _training(values: Mapping[str, Any]) -> str:
    if values.get("pretrained") is None:
        return "scratch"
    return "full" if values.get("lora") is None else "lora"


def _sft(values: Mapping[str, Any]) -> dict[str, Any]:
    given = values.get("warm_start", {})
    stage: dict[str, Any] = {"kind": "sft", "steps": given.get("updates", STEPS[_training(values)])}
    if "lessons" in given:
        stage["demonstrations"] = _named(given["lessons"], LESSONS)
    return stage | _learner(given, _training(values), sft=True)


def _rl(values: Mapping[str, Any]) -> dict[str, Any]:
    given, gate = values.get("reinforce", {}), values.get("gate", {})
    own = {name: value for name, value in given.items() if name != "learner"}
    require = {"thinking_gain": gate.get("margin", 0.3), "problems": gate.get("problems", 200)}
    stage = {"kind": "rl", "require": require, **_earlier("rl", values), **_named(own, REINFORCE)}
    if "curriculum" in values:
        stage["curriculum"] = _named(values["curriculum"], {"rehearse": "review_prob"})
    return stage | _learner(given, _training(values), sft=False)


def _learner(stage: Mapping[str, Any], training: str, *, sft: bool) -> dict[str, Any]:
    """Returns the settings of a stage's learner in schema 2, with the optimizer that schema 1 would have used.

    In schema 1, an optimizer or learner that was given in part was completed with the defaults of optimizers in
    general, not with those of its stage.
    """
    given = stage.get("learner", {})
    found = _named({name: value for name, value in given.items() if name not in NESTED}, LEARNER)
    found |= {name: _named(given[name], names) for name, names in NESTED.items() if name in given}
    if sft:
        optimizer = found.get("optimizer", {})
        usual = {"learning_rate": 2e-4, "warmup_steps": 5, "decay_ratio": 0.5, "min_lr_ratio": 0.05}
        whole = "learner" not in stage  # nothing given: the defaults of the stage, which are those of schema 2 too
        if training == "scratch" and not whole:
            found["optimizer"] = {**optimizer, **{name: usual[name] for name in usual if name not in optimizer}}
    return found


def _named(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in table.items()}


# ------------------------------------------------------------------------------------------------------------- files
def convert_text(text: str) -> str:
    """Converts the text of a recipe from schema 1 to schema 2; comments beside settings are kept.

    Raises:
        SettingsError: the text is no recipe of schema 1.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"the recipe is not valid TOML: {error}"
        raise SettingsError(message) from error
    _demand_old(values)
    heading = "".join(f"{line}\n" for line in _heading(text))
    written, comments = _written(text)
    lines = _dressed(to_toml(converted(values)).splitlines(), written, comments)
    return heading + _inlined("\n".join(lines)) + "\n"


def convert_file(old: Path, new: Path | None = None) -> str:
    """Converts a recipe file from schema 1 to schema 2, writes it to `new` if given, and returns its text.

    Args:
        old: file of the recipe, or a run's recipe.toml.
        new: file to write; None writes none.

    Raises:
        SettingsError: the file is no recipe of schema 1, or `new` exists.
    """
    read_toml(old)  # its errors name the file
    text = convert_text(old.read_text(encoding="utf-8"))
    if new is not None:
        if new.exists() and new.resolve() != old.resolve():
            message = f"{new} exists: give another file, or {old} itself to write it anew"
            raise SettingsError(message)
        new.write_text(text, encoding="utf-8")
    return text


def _demand_old(values: Mapping[str, Any]) -> None:
    version = values.get("schema_version", 1)
    if version != 1 or "stage" in values:
        message = f"the recipe has schema_version {version!r} and is converted already: only recipes of schema 1 are"
        raise SettingsError(message)


def _heading(text: str) -> list[str]:
    """Returns the lines of comment with which a file begins."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return lines


def _written(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the values as text, and the comments beside settings and tables, by their dotted names in schema 2."""
    values: dict[str, str] = {}
    comments: dict[str, str] = {}
    table = ""
    for line in text.splitlines():
        header = re.fullmatch(r"\s*\[([\w.]+)\]\s*(#.*)?", line)
        if header:
            table = header[1]
            comments |= {f"[{place_of(table)}]": header[2]} if header[2] else {}
            continue
        named = re.match(r"\s*([\w]+)\s*=\s*(.*)", line)
        if named:
            place = place_of(f"{table}.{named[1]}" if table else named[1])
            ends = [found.start() for found in re.finditer("#", line) if _whole(line[: found.start()])]
            values[place] = line[named.start(2) : ends[0] if ends else None].strip()
            comments |= {place: line[ends[0] :]} if ends else {}
    return values, comments


def _whole(line: str) -> bool:
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def place_of(name: str) -> str:
    """Returns the dotted name in schema 2 of a setting or table of schema 1, such as "rl.group_size".

    The name of a stage's setting begins with the stage's kind.
    """
    words = name.split(".")
    for count in range(len(words), 0, -1):
        prefix = ".".join(words[:count])
        if prefix in MOVED:
            rest = words[count:]
            break
    else:
        return name
    renamed = {"warm_start": LEARNER, "reinforce": REINFORCE | LEARNER, "curriculum": {"rehearse": "review_prob"}}
    names = renamed.get(words[0], {})
    if "lessons" in words:
        names = LESSONS
    elif len(words) > 2 and words[-2] in NESTED:
        names = NESTED[words[-2]]
    return ".".join([MOVED[prefix], *(names.get(word, word) for word in rest)])


def _dressed(lines: list[str], written: Mapping[str, str], comments: Mapping[str, str]) -> Iterator[str]:
    """Yields the lines of a recipe of schema 2 with their comments, and with values as they were written."""
    table, kind = "", ""
    for line in lines:
        header = re.fullmatch(r"\[\[?([\w.]+)\]\]?", line)
        named = re.match(r"(\w+) = (.*)", line)
        said = None
        if header:
            table = header[1]
            said = comments.get(f"[{re.sub(r'^stage[.]', f'{kind}.', table)}]")
        elif named and table == "stage" and named[1] == "kind":
            kind = named[2].strip('"')
            said = comments.get(f"[{kind}]")
        elif named:
            where = re.sub(r"^stage\b", kind, table)
            place = f"{where}.{named[1]}" if where else named[1]
            said, as_written = comments.get(place), f"{named[1]} = {written.get(place, named[2])}"
            same = _whole(as_written) and tomllib.loads(as_written) == tomllib.loads(line)
            yield _with(as_written if same else line, said)
            continue
        yield _with(line, said)


def _with(line: str, comment: str | None) -> str:
    return f"{line:<32} {comment}" if comment else line


def _inlined(text: str) -> str:
    """Returns a recipe of schema 2 with the short tables of a stage written into the stage's own lines."""
    blocks: list[str] = []
    stage = 0  # place of the present stage's own lines
    for block in text.split("\n\n"):
        header, *inside = block.splitlines()
        table = re.fullmatch(r"\[stage\.(\w+)\]\s*(#.*)?", header)
        line = f"{table[1]} = {{ {', '.join(inside)} }}" if table else ""
        if table and len(block) <= INLINE and not any("#" in each or "[" in each for each in inside):
            blocks[stage] += f"\n{line:<32} {table[2]}" if table[2] else f"\n{line}"
            continue
        stage = len(blocks) if header.startswith("[[") else stage
        blocks.append(block)
    return "\n\n".join(blocks)

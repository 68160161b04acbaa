"""Imports point down: the table of docs/design.md section 4, and the rules that keep it true."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "poziomka"

MAY_USE = {
    # 0
    "core": [],
    # 1
    "environments": ["core"],
    "models": ["core"],
    "runs": ["core"],
    # 2
    "tasks": ["core", "environments"],
    "sampling": ["core", "models"],
    "thinking": ["core"],
    "scaling": ["core", "runs"],
    "testing": ["core", "environments", "models"],
    # 3
    "learning": ["core", "models", "runs"],
    "serving": ["core", "runs", "thinking"],
    "reports": ["core", "runs"],
    # 4
    "distributed": ["core", "models", "runs", "sampling", "learning"],
}
WIRING = ["training", "cli", "__main__.py"]  # 5: may use everything
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc", "config", "configs"}

# Imports inside functions, each with its reason: (file or folder, imported package) -> why.
LATE = {
    ("cli/", "*"): "`poziomka --help` answers in half a second: a command imports the rooms it needs",
    ("testing/__init__.py", "poziomka"): "`check_architecture` needs torch; the other checks and the fakes do without",
    ("environments/held.py", "sandlock"): "an extra, and a library of 20 MB: only code that the kernel holds needs it",
    ("environments/monty.py", "pydantic_monty"): "an extra of 10 MB: only code that runs in it needs it",
    ("models/adapter.py", "transformers"): "an extra, and seconds, for models that are no family of ours",
    ("models/pretrained.py", "huggingface_hub"): "an extra, for models named on the hub",
    ("reports/figures.py", "matplotlib"): "half a second that only drawing needs; reading a run does without",
    ("reports/monitors.py", "matplotlib"): "half a second that only drawing needs; reading a run does without",
    ("reports/naming.py", "numpy"): "it comes with matplotlib, which only drawing needs; reading a run does without",
    ("reports/style.py", "matplotlib"): "half a second that only drawing needs; reading a run does without",
    ("runs/exports.py", "tensorboard"): "an extra: whoever does not export needs it not",
    ("runs/exports.py", "wandb"): "an extra: whoever does not export needs it not",
    ("sampling/llamacpp.py", "llama_cpp"): "an extra: only who runs a GGUF file by llama.cpp needs it",
    ("runs/journal.py", "pyarrow"): "opening a run takes longer with it than all the rest; metrics need it not",
    ("tasks/rows.py", "huggingface_hub"): "an extra, for problems named on the hub",
    ("tasks/rows.py", "pyarrow"): "half a second that only problems from the hub need",
    ("tasks/competition.py", "huggingface_hub"): "an extra, for problems named on the hub",
    ("tasks/constraints.py", "z3"): "an extra, which only claims about all whole numbers and audits need",
    ("tasks/formulas/algebra.py", "math_verify"): "an extra, and a second that only comparing formulas needs",
    ("tasks/reasoning/package.py", "*"): "an extra, and seconds: the one place where reasoning-gym is imported",
}


class Import(NamedTuple):
    """One import statement: where it stands and what it names."""

    file: str  # relative to the package, "thinking/best_of.py"
    name: str  # absolute, "poziomka.core.transcript" or "numpy"
    late: bool  # inside a function
    types: bool  # under TYPE_CHECKING: it never runs


def python_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports(package: Path, path: Path) -> Iterator[Import]:
    """Every import of a file, those under TYPE_CHECKING and those written as calls included."""
    file = path.relative_to(package).as_posix()

    def walk(node: ast.AST, *, late: bool, types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    yield from (Import(file, alias.name, late, types) for alias in names)
                case ast.ImportFrom(module=module, level=level, names=names):
                    source = module or ""
                    if level:
                        folder = ["poziomka", *path.relative_to(package).parts[:-1]]
                        source = ".".join(folder[: len(folder) - level + 1] + ([module] if module else []))
                    yield from (Import(file, f"{source}.{alias.name}", late, types) for alias in names)
                case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="__import__" | "import_module")):
                    named = child.args[0].value if child.args and isinstance(child.args[0], ast.Constant) else "?"
                    yield Import(file, str(named), late=True, types=types)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guarded = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from walk(child, late=late or inside, types=types or guarded)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), late=False, types=False)


def all_imports(package: Path) -> list[Import]:
    return [found for path in python_files(package) for found in imports(package, path)]


def room_of(file: str) -> str:
    """The room a file stands in: a folder, or the file itself where it stands beside the folders."""
    return file.split("/", 1)[0]


def layer_violations(package: Path) -> list[str]:
    found = []
    for file, name, *_ in all_imports(package):
        if room_of(file) in WIRING or not name.startswith("poziomka."):
            continue
        room, used = room_of(file), name.split(".")[1]
        allowed = ["core"] if room == "__init__.py" else MAY_USE.get(room)
        if allowed is None:
            found.append(f"{file} stands in no room of the table: {sorted(MAY_USE)}")
        elif used not in (room, *allowed):
            found.append(f"{file} imports {used}, but {room} may use only {allowed}")
    return sorted(set(found))


def cycle(package: Path) -> list[str]:
    """The modules of one import cycle, empty where there is none; imports for types do not count."""
    modules = {module_of(package, path): path for path in python_files(package)}
    graph = {module: set() for module in modules}
    for module, path in modules.items():
        for _, name, _, types in imports(package, path):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module and not types:
                graph[module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def module_of(package: Path, path: Path) -> str:
    parts = ["poziomka", *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def foreign_to_core(package: Path) -> list[str]:
    return [
        f"{file} imports {name}, but core is standard library only"
        for file, name, *_ in all_imports(package)
        if room_of(file) in ("core", "__init__.py") and name.split(".")[0] not in sys.stdlib_module_names | {"poziomka"}
    ]


def late_imports(package: Path) -> list[str]:
    return [
        f"{file} imports {name} inside a function; move it to the top, or allow it with a reason"
        for file, name, late, _ in all_imports(package)
        if late and not any(allows(entry, file, name) for entry in LATE)
    ]


def allows(entry: tuple[str, str], file: str, name: str) -> bool:
    where, what = entry
    here = file.startswith(where) if where.endswith("/") else file == where
    return here and (what in ("*", name) or name.startswith(f"{what}."))


def forbidden_names(package: Path) -> list[str]:
    return [
        f"{path.relative_to(package).as_posix()}: {part!r} says nothing; name the file after its noun"
        for path in python_files(package)
        for part in path.relative_to(package).with_suffix("").parts
        if part in FORBIDDEN_NAMES
    ]


def test_imports_point_down():
    assert layer_violations(PACKAGE) == []


def test_no_module_imports_itself_in_a_circle():
    assert cycle(PACKAGE) == []


def test_core_is_standard_library_only():
    assert foreign_to_core(PACKAGE) == []


def test_imports_stand_at_the_top():
    assert late_imports(PACKAGE) == []


def test_every_late_import_that_is_allowed_is_used():
    late = [found for found in all_imports(PACKAGE) if found.late]
    assert [entry for entry in LATE if not any(allows(entry, file, name) for file, name, *_ in late)] == []


def test_no_file_is_named_utils():
    assert forbidden_names(PACKAGE) == []


def plant(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "poziomka"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_a_planted_upward_import_is_caught(tmp_path):
    package = plant(tmp_path, {"thinking/best_of.py": "from poziomka.sampling.engine import Engine\n"})
    assert layer_violations(package) == ["thinking/best_of.py imports sampling, but thinking may use only ['core']"]


def test_a_relative_import_does_not_hide_the_room(tmp_path):
    package = plant(tmp_path, {"runs/run.py": "from ..learning import learner\n"})
    assert layer_violations(package) == ["runs/run.py imports learning, but runs may use only ['core']"]


def test_an_import_for_types_only_counts(tmp_path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import poziomka.models.transformer\n"
    package = plant(tmp_path, {"core/task.py": text})
    assert layer_violations(package) == ["core/task.py imports models, but core may use only []"]


def test_the_public_face_may_use_core_only(tmp_path):
    package = plant(tmp_path, {"__init__.py": "from poziomka import learning\n"})
    assert layer_violations(package) == ["__init__.py imports learning, but __init__.py may use only ['core']"]


def test_a_new_room_needs_a_place_in_the_table(tmp_path):
    package = plant(tmp_path, {"extras/thing.py": "import poziomka.core\n"})
    assert layer_violations(package)[0].startswith("extras/thing.py stands in no room of the table")


def test_the_command_line_may_use_everything(tmp_path):
    package = plant(tmp_path, {"cli/main.py": "from poziomka.learning import reinforce\n"})
    assert layer_violations(package) == []


def test_a_planted_cycle_is_caught(tmp_path):
    files = {"core/a.py": "from poziomka.core.b import x\n", "core/b.py": "from poziomka.core import a\n"}
    assert set(cycle(plant(tmp_path, {"core/__init__.py": "", **files}))) == {"poziomka.core.a", "poziomka.core.b"}


def test_two_modules_may_know_each_others_types(tmp_path):
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from poziomka.core.b import B\n"
    files = {"core/a.py": guarded, "core/b.py": "from poziomka.core.a import A\n"}
    assert cycle(plant(tmp_path, files)) == []


def test_a_planted_dependency_of_core_is_caught(tmp_path):
    package = plant(tmp_path, {"core/statistics.py": "import json\nimport numpy as np\n"})
    assert foreign_to_core(package) == ["core/statistics.py imports numpy, but core is standard library only"]


def test_a_planted_late_import_is_caught_as_statement_and_as_call(tmp_path):
    statement = "def f():\n    from poziomka.core import seeds\n"
    call = "import importlib\ndef f():\n    return importlib.import_module('scipy')\n"
    package = plant(tmp_path, {"core/a.py": statement, "core/b.py": call, "cli/main.py": statement})
    assert [message.split(" inside")[0] for message in late_imports(package)] == [
        "core/a.py imports poziomka.core.seeds",
        "core/b.py imports scipy",
    ]


def test_a_planted_utils_is_caught(tmp_path):
    assert forbidden_names(plant(tmp_path, {"core/utils.py": "", "learning/helpers/a.py": "", "core/a.py": ""})) == [
        "core/utils.py: 'utils' says nothing; name the file after its noun",
        "learning/helpers/a.py: 'helpers' says nothing; name the file after its noun",
    ]

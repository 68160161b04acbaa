"""Imports point down: the table of docs/design.md section 4, and the rules of folders."""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "poziomka"

# Groups of folders that are written more than once.
TYPES = ["core", "core/safety"]
CORE = [*TYPES, "core/rollouts"]
ENVIRONMENTS = ["environments", "environments/sandbox", "environments/sandbox/worker", "environments/tools"]
METHODS = [
    "learning/curriculum",
    "learning/monitoring",
    "learning/objectives",
    "learning/optim",
    "learning/samples",
]

# A folder rules its files and those of its subfolders, except subfolders with a line of their own. It may use itself
# and the folders that its line names, each in the same sense.
MAY_USE = {
    # 0: core types
    "core": ["core/safety"],
    "core/safety": ["core"],
    # 1
    "core/rollouts": TYPES,
    "models": TYPES,
    "environments": [*TYPES, "environments/tools"],
    "environments/sandbox": [*TYPES, "environments/sandbox/worker"],
    "environments/sandbox/worker": TYPES,
    "environments/tools": [*TYPES, "environments/sandbox"],
    # 2
    "tasks": [*CORE, *ENVIRONMENTS],
    "inference": [*CORE, "models"],
    "thinking": CORE,
    "scaling": CORE,
    "runs": CORE,
    "testing": [*CORE, *ENVIRONMENTS, "models"],
    # 3
    "learning/optim": [*TYPES, "models"],
    "learning/objectives": [*CORE, "models", "learning/optim"],
    "learning/curriculum": [*CORE, "models"],
    "learning/samples": [*CORE, "models", "learning/curriculum"],
    "learning/monitoring": [*CORE, "models", "runs", "learning/objectives", "learning/samples"],
    "learning": [*CORE, "models", "runs", *METHODS],
    "learning/loops": [*CORE, "models", "runs", *METHODS, "learning"],
    # 4
    "serving": [*CORE, "runs", "thinking"],
    "reports": [*CORE, "runs"],
    # 5
    "distributed": [*CORE, "models", "runs", "inference", *METHODS, "learning", "learning/loops"],
}
PUBLIC = [*CORE, "openmp"]  # what `import poziomka` may use
WIRING = ["app", "__main__.py"]  # 6: may use everything
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc", "configs"}
MOST_FILES = 14  # Python files of a folder

# Imports that point back, (folder, used folder) -> why; without these, folders form no circle. `__init__.py` is free.
POINTS_BACK = {
    ("core/safety", "core"): "every reader of untrusted files raises the errors of core",
    ("environments/tools/formats", "environments/tools"): "a format describes a Tool; a toolbox speaks in a format",
    ("thinking/search", "thinking"): "a search votes as majorities do, and its last step is any strategy",
    ("models", "models/checkpoints"): "an architecture names its weights as checkpoints do, and adapters are saved",
    ("models/checkpoints", "models/checkpoints/gguf"): "one function loads a model of either format",
}

# Imports inside functions, each with its reason: (file or folder, imported package) -> why.
LATE = {
    ("app/cli/", "*"): "`poziomka --help` answers in half a second: a command imports the rooms it needs",
    ("testing/__init__.py", "poziomka"): "`check_architecture` needs torch; the other checks and the fakes do without",
    ("environments/sandbox/landlock_process.py", "sandlock"): "an extra of 20 MB: only code the kernel holds needs it",
    ("environments/sandbox/monty.py", "pydantic_monty"): "an extra of 10 MB: only code that runs in it needs it",
    ("models/hf_model.py", "transformers"): "an extra, and seconds, for models that are no family of ours",
    ("models/checkpoints/pretrained.py", "huggingface_hub"): "an extra, for models named on the hub",
    ("reports/", "matplotlib"): "half a second that only drawing needs; reading a run does without",
    ("reports/naming.py", "numpy"): "it comes with matplotlib, which only drawing needs; reading a run does without",
    ("runs/exports.py", "tensorboard"): "an extra: whoever does not export needs it not",
    ("runs/exports.py", "wandb"): "an extra: whoever does not export needs it not",
    ("inference/endpoint/connection.py", "httpx2"): "an extra: only who samples from an endpoint needs it",
    ("inference/llamacpp.py", "llama_cpp"): "an extra: only who runs a GGUF file by llama.cpp needs it",
    ("runs/storage/journal.py", "pyarrow"): "opening a run takes longer with it than all the rest; metrics need it not",
    ("__init__.py", "?"): "a public name is imported when it is used: `import poziomka` imports no torch",
    ("thinking/__init__.py", "?"): "a name is imported when it is used: `import poziomka` needs few of these files",
    ("tasks/adapters/named.py", "verifiers"): "a library of its own, which only its environments need",
    ("tasks/own.py", "?"): "a module of the user's, by its name",
    ("tasks/rows.py", "huggingface_hub"): "an extra, for problems named on the hub",
    ("tasks/rows.py", "pyarrow"): "half a second that only problems from the hub need",
    ("tasks/math/competition.py", "huggingface_hub"): "an extra, for problems named on the hub",
    ("tasks/logic/constraints.py", "z3"): "an extra, which only claims about all whole numbers and audits need",
    ("tasks/math/formulas/algebra.py", "math_verify"): "an extra, and a second that only comparing formulas needs",
    ("tasks/reasoning_gym_package.py", "*"): "an extra, and seconds: the one place where reasoning-gym is imported",
}


class Import(NamedTuple):
    """One import statement: where it stands and what it names."""

    file: str  # relative to the package, "thinking/best_of.py"
    name: str  # absolute, "poziomka.core.transcript" or "numpy"
    late: bool  # inside a function


def python_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports(package: Path, path: Path) -> Iterator[Import]:
    """Every import of a file, those under TYPE_CHECKING and those written as calls included."""
    file = path.relative_to(package).as_posix()

    def walk(node: ast.AST, *, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    yield from (Import(file, alias.name, late) for alias in names)
                case ast.ImportFrom(module=module, level=level, names=names):
                    source = module or ""
                    if level:
                        folder = ["poziomka", *path.relative_to(package).parts[:-1]]
                        source = ".".join(folder[: len(folder) - level + 1] + ([module] if module else []))
                    yield from (Import(file, f"{source}.{alias.name}", late) for alias in names)
                case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="__import__" | "import_module")):
                    named = child.args[0].value if child.args and isinstance(child.args[0], ast.Constant) else "?"
                    yield Import(file, str(named), late=True)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, late=late or inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), late=False)


@cache  # a package is parsed once
def all_imports(package: Path) -> tuple[Import, ...]:
    return tuple(found for path in python_files(package) for found in imports(package, path))


def ruled_by(path: str) -> str:
    """Returns the folder of the table whose line rules a path; the first part of the path where there is none."""
    ruling = [folder for folder in MAY_USE if path == folder or path.startswith(f"{folder}/")]
    return max(ruling, key=len, default=path.split("/", 1)[0])


def layer_violations(package: Path) -> list[str]:
    found = []
    for file, name, *_ in all_imports(package):
        folder, used = ruled_by(file), ruled_by("/".join(name.split(".")[1:]))
        if folder in WIRING or not name.startswith("poziomka."):
            continue
        allowed = PUBLIC if folder == "__init__.py" else MAY_USE.get(folder)
        if allowed is None:
            found.append(f"{file} is in no folder of the table: {sorted(MAY_USE)}")
        elif used not in (folder, *allowed):
            found.append(f"{file} imports {used}, but {folder} may use only {allowed}")
    return sorted(set(found))


def imported_modules(package: Path) -> dict[str, set[str]]:
    """Returns the modules of the package that each module imports, also those that it imports for types only."""
    graph: dict[str, set[str]] = {module_of(package, path): set() for path in python_files(package)}
    for file, name, _ in all_imports(package):
        module, target = module_of(package, package / file), name if name in graph else name.rpartition(".")[0]
        if target in graph and target != module:
            graph[module].add(target)
    return graph


def circle(graph: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Returns the nodes of one circle, an empty list where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def cycle(package: Path) -> list[str]:
    """Returns the modules of one import cycle, an empty list where there is none."""
    return circle(imported_modules(package))


def imported_folders(package: Path) -> set[tuple[str, str]]:
    """Returns pairs (folder, folder that its files import from); an `__init__.py` does not import here."""
    folders = {module_of(package, path): path.parent.relative_to(package).as_posix() for path in python_files(package)}
    packages = {module_of(package, path) for path in python_files(package) if path.name == "__init__.py"}
    return {
        (folders[module], folders[target])
        for module, targets in imported_modules(package).items()
        for target in targets
        if module not in packages and folders[module] != folders[target] and folders[target] != "."
    }


def folder_circle(package: Path, excused: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Returns the folders of one circle of imports, an empty list where there is none."""
    graph: dict[str, set[str]] = {}
    for folder, used in imported_folders(package) - set(excused):
        graph.setdefault(folder, set()).add(used)
    return circle(graph)


def full_folders(package: Path) -> list[str]:
    counts = Counter(path.parent.relative_to(package).as_posix() for path in python_files(package))
    return [
        f"{folder} has {count} Python files, more than {MOST_FILES}"
        for folder, count in sorted(counts.items())
        if count > MOST_FILES
    ]


def module_of(package: Path, path: Path) -> str:
    parts = ["poziomka", *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def foreign_to_core(package: Path) -> list[str]:
    return [
        f"{file} imports {name}, but core is standard library only"
        for file, name, *_ in all_imports(package)
        if file.split("/", 1)[0] in ("core", "__init__.py", "openmp.py")
        and name.split(".")[0] not in sys.stdlib_module_names | {"poziomka", "?"}  # "?": modules of the public names
    ]


def late_imports(package: Path) -> list[str]:
    return [
        f"{file} imports {name} inside a function; move it to the top, or allow it with a reason"
        for file, name, late in all_imports(package)
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


def test_folders_use_each_other_only_where_a_reason_is_given():
    assert folder_circle(PACKAGE, POINTS_BACK) == []


def test_every_import_between_folders_that_points_back_is_needed():
    assert set(POINTS_BACK) - imported_folders(PACKAGE) == set()
    assert [pair for pair in POINTS_BACK if not folder_circle(PACKAGE, set(POINTS_BACK) - {pair})] == []


def test_no_folder_is_full():
    assert full_folders(PACKAGE) == []


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
    package = plant(tmp_path, {"thinking/best_of.py": "from poziomka.inference.engine import Engine\n"})
    assert layer_violations(package) == [f"thinking/best_of.py imports inference, but thinking may use only {CORE}"]


def test_a_subfolder_has_a_line_of_its_own(tmp_path):
    files = {
        "environments/sandbox/monty.py": "from poziomka.environments.tools.tool import Tool\n",
        "environments/tools/tool.py": "from poziomka.environments.sandbox.interpreter import Console\n",
        "learning/monitoring/consistency.py": "from poziomka.learning.session import Progress\n",
        "learning/loops/rl.py": "from poziomka.learning.session import Progress\n",
        "models/text/chat.py": "from poziomka.core.rollouts.answers import split_thought\n",
    }
    assert [message.partition(", but")[0] for message in layer_violations(plant(tmp_path, files))] == [
        "environments/sandbox/monty.py imports environments/tools",
        "learning/monitoring/consistency.py imports learning",
        "models/text/chat.py imports core/rollouts",
    ]


def test_a_relative_import_does_not_hide_the_folder(tmp_path):
    package = plant(tmp_path, {"runs/run.py": "from ..learning import learner\n"})
    assert layer_violations(package) == [f"runs/run.py imports learning, but runs may use only {CORE}"]


def test_an_import_for_types_only_counts(tmp_path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import poziomka.models.transformer\n"
    package = plant(tmp_path, {"core/task.py": text})
    assert layer_violations(package) == ["core/task.py imports models, but core may use only ['core/safety']"]


def test_the_public_face_may_use_core_only(tmp_path):
    package = plant(tmp_path, {"__init__.py": "from poziomka import learning\n"})
    assert layer_violations(package) == [f"__init__.py imports learning, but __init__.py may use only {PUBLIC}"]


def test_a_new_folder_needs_a_place_in_the_table(tmp_path):
    package = plant(tmp_path, {"extras/thing.py": "import poziomka.core\n"})
    assert layer_violations(package)[0].startswith("extras/thing.py is in no folder of the table")


def test_the_command_line_may_use_everything(tmp_path):
    package = plant(tmp_path, {"app/cli/main.py": "from poziomka.learning.loops import rl\n"})
    assert layer_violations(package) == []


def test_a_planted_cycle_is_caught(tmp_path):
    files = {"core/a.py": "from poziomka.core.b import x\n", "core/b.py": "from poziomka.core import a\n"}
    assert set(cycle(plant(tmp_path, {"core/__init__.py": "", **files}))) == {"poziomka.core.a", "poziomka.core.b"}


def test_a_cycle_by_types_only_is_caught(tmp_path):
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from poziomka.core.b import B\n"
    files = {"core/a.py": guarded, "core/b.py": "from poziomka.core.a import A\n"}
    assert set(cycle(plant(tmp_path, files))) == {"poziomka.core.a", "poziomka.core.b"}


def test_a_planted_circle_of_three_folders_is_caught(tmp_path):
    files = {
        "runs/run.py": "from poziomka.runs.storage import disk\n",
        "runs/storage/disk.py": "from poziomka.runs.exports import csv\n",
        "runs/exports/csv.py": "from poziomka.runs import compare\n",
        "runs/compare.py": "",
        "runs/__init__.py": "from poziomka.runs.run import open_run\n",
    }
    package = plant(tmp_path, files)
    assert cycle(package) == []
    assert set(folder_circle(package)) == {"runs", "runs/storage", "runs/exports"}
    assert folder_circle(package, [("runs/exports", "runs")]) == []


def test_a_planted_full_folder_is_caught(tmp_path):
    package = plant(tmp_path, {f"core/module_{number}.py": "" for number in range(MOST_FILES)})
    assert full_folders(package) == []
    plant(tmp_path, {"core/one_more.py": "", "core/rollouts/collect.py": ""})
    assert full_folders(package) == ["core has 15 Python files, more than 14"]


def test_a_planted_dependency_of_core_is_caught(tmp_path):
    package = plant(tmp_path, {"core/statistics.py": "import json\nimport numpy as np\n"})
    assert foreign_to_core(package) == ["core/statistics.py imports numpy, but core is standard library only"]


def test_a_planted_late_import_is_caught_as_statement_and_as_call(tmp_path):
    statement = "def f():\n    from poziomka.core import seeds\n"
    call = "import importlib\ndef f():\n    return importlib.import_module('scipy')\n"
    package = plant(tmp_path, {"core/a.py": statement, "core/b.py": call, "app/cli/main.py": statement})
    assert [message.split(" inside")[0] for message in late_imports(package)] == [
        "core/a.py imports poziomka.core.seeds",
        "core/b.py imports scipy",
    ]


def test_a_planted_utils_is_caught(tmp_path):
    assert forbidden_names(plant(tmp_path, {"core/utils.py": "", "learning/helpers/a.py": "", "core/a.py": ""})) == [
        "core/utils.py: 'utils' says nothing; name the file after its noun",
        "learning/helpers/a.py: 'helpers' says nothing; name the file after its noun",
    ]

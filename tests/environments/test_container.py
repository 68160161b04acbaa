"""Docker: what is asked of it, and how it is refused where it does not answer. No container is started here."""

import pytest

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox import container
from poziomka.environments.sandbox.container import Container, command, interpreter, reason
from poziomka.environments.sandbox.interpreter import CALL, Surface
from poziomka.environments.sandbox.landlock_process import CODE
from poziomka.environments.sandbox.registry import interpreter_named

WORDS = command("python:3.11-slim", "poziomka-1", CALL, 5)


def after(word):
    return [WORDS[place + 1] for place, found in enumerate(WORDS) if found == word]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("--network", ["none"]),
        ("--ipc", ["none"]),
        ("--cap-drop", ["ALL"]),
        ("--security-opt", ["no-new-privileges"]),
        ("--user", ["65534:65534"]),
        ("--pull", ["never"]),
        ("--pids-limit", ["1"]),
        ("--memory", [str(2 * CALL.memory)]),
        ("--memory-swap", [str(2 * CALL.memory)]),
        ("--ulimit", ["nofile=32:32", "fsize=1048576:1048576", "core=0:0"]),
        ("--tmpfs", ["/code:rw,noexec,nosuid,nodev,size=67108864,nr_inodes=2000,mode=1777"]),
        ("--name", ["poziomka-1"]),
        ("-c", [CODE]),
    ],
)
def test_a_container_is_asked_for_with_every_bound(word, values):
    assert after(word) == values


def test_a_container_gets_nothing_of_ours():
    assert WORDS[:5] == ["docker", "run", "--rm", "--interactive", "--pull"]
    assert "--read-only" in WORDS
    assert not {"--volume", "-v", "--mount", "--privileged", "--env-file", "--device"} & set(WORDS)
    assert [word.partition("=")[0] for word in after("--env")] == [
        "PYTHONHASHSEED",
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
    ]
    told = [word for word in WORDS[WORDS.index(CODE) + 1 :] if not word.startswith("filter.")]
    assert told == ["seed=5", f"memory={CALL.memory}", "file=1048576", "files=32", "processes=1", "role=console"]


def test_an_image_is_named():
    assert reason("-v/:/host") != ""
    with pytest.raises(SettingsError, match="needs the name of an image"):
        interpreter("")
    assert interpreter("python:3.11-slim").image == "python:3.11-slim"


@pytest.mark.skipif(not reason(), reason="an engine answers here")
def test_where_no_engine_answers_it_is_refused_with_the_reason():
    assert reason().startswith("docker does not answer: ")
    with pytest.raises(EnvironmentFailure, match=r"'docker:python:3\.11' here: docker does not answer: .*; name "):
        interpreter_named("docker:python:3.11")


def test_where_there_is_no_docker_at_all_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason() == "docker does not answer: docker is not installed"
    with pytest.raises(EnvironmentFailure, match="docker cannot be started"):
        Container("python", CALL, 0)


@pytest.mark.skipif(not reason(), reason="an engine answers here")
def test_a_container_that_cannot_start_is_our_failure_and_leaves_nothing():
    console = interpreter("python:3.11-slim").open()
    with pytest.raises(EnvironmentFailure, match="cannot be set up"):
        console.run("1")
    console.close()


def test_every_surface_is_held_by_something():
    isolation = interpreter("python").isolation()
    assert set(isolation.held) == set(Surface)
    assert isolation.not_protected == container.NOT_PROTECTED

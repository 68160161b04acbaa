"""Completion scripts: a shell completes commands, options, words and paths."""

import subprocess

import pytest

ASK = """
source /dev/stdin
complete -p poziomka >/dev/null || exit 3
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
function=$(complete -p poziomka | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" poziomka "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(outside):
    status, script, errors = outside("completion", "bash")
    assert status == 0, errors

    def completed(*words, folder="/"):
        command = ["bash", "--norc", "-c", ASK, "bash", "poziomka", *words]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        return {word.strip() for word in done.stdout.split("\n")} - {""}

    return completed


def test_bash_completes_commands(bash):
    assert bash("ev") == {"evaluate"}
    assert {"train", "evaluate", "chat", "completion"} <= bash("")


def test_bash_completes_the_options_of_a_command(bash):
    assert bash("evaluate", "--m") == {"--max-tokens", "--min-p"}
    assert bash("evaluate", "smollm2", "--top") == {"--top-p", "--top-k"}
    assert bash("train", "--dr") == {"--dry-run"}


def test_bash_completes_the_words_of_an_option(bash):
    assert bash("evaluate", "smollm2", "--split", "") == {"train", "validation", "test"}
    assert bash("evaluate", "smollm2", "--task", "recur") == {"recurrence"}
    assert bash("completion", "z") == {"zsh"}
    assert bash("tasks", "pl") == {"play"}


def test_bash_completes_paths(bash, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "rough.toml").write_text("")
    assert {word.rstrip("/") for word in bash("report", "ru", folder=tmp_path)} == {"runs"}
    assert bash("train", "rou", folder=tmp_path) == {"rough.toml"}


@pytest.mark.parametrize(("shell", "words"), [("zsh", "#compdef poziomka"), ("fish", "complete -c poziomka")])
def test_other_shells_have_their_scripts(poziomka, shell, words):
    status, output, _ = poziomka("completion", shell)
    assert status == 0
    assert words in output
    assert "max-tokens" in output


def test_an_unknown_shell_is_one_sentence(poziomka):
    status, _, errors = poziomka("completion", "bsh")
    assert status == 2
    assert "unknown shell 'bsh'; did you mean 'bash'?" in errors

"""Docstrings and comments of the package are written in the field's language."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = runpy.run_path(str(ROOT / "tests" / "language.py"))
MOST = 4.0  # dialect words per 1,000 words; 24.0 on commit 33a12d8
PLANTED = '''"""Says what is here."""

x = "nobody told anybody"  # nobody knows


class A:
    """Whoever asks.

    Holds nothing.
    """

    async def f(self):
        """Returns how it stands: HELD."""
'''


@pytest.fixture
def planted(tmp_path):
    path = tmp_path / "package" / "planted.py"
    path.parent.mkdir()
    path.write_text(PLANTED, encoding="utf-8")
    (path.parent / "plain.py").write_text('"""Returns the parsed value."""\n', encoding="utf-8")
    return path


def test_the_package_is_written_in_the_fields_language():
    found = LANGUAGE["together"](list(LANGUAGE["counts"](ROOT / "poziomka").values()))
    assert found.words > 10_000
    assert found.per_thousand <= MOST


def test_a_planted_text_is_counted(planted):
    found = LANGUAGE["count"](planted)
    assert found.dialect == {"pronoun agents": 2, "what-clauses": 2, "speech verbs": 2, "posture verbs": 3}
    assert found.words == 16
    assert found.per_thousand == pytest.approx(1000 * 9 / 16)


def test_a_folder_is_counted_whole(planted):
    found = LANGUAGE["counts"](planted.parent)
    assert [path.name for path in found] == ["plain.py", "planted.py"]
    whole = LANGUAGE["together"](list(found.values()))
    assert (whole.words, whole.total) == (16 + 4, 9)
    assert whole.per_thousand > MOST


def test_plain_words_and_parts_of_words_are_not_counted(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("# Household threshold; understands; what a-priori; unsaid\n", encoding="utf-8")
    assert LANGUAGE["count"](path).dialect == {
        "pronoun agents": 0,
        "what-clauses": 1,
        "speech verbs": 0,
        "posture verbs": 0,
    }


def test_a_folder_without_words_counts_0(tmp_path):
    assert LANGUAGE["together"](list(LANGUAGE["counts"](tmp_path).values())).per_thousand == 0


def test_main_prints_the_worst_files_and_the_figure(planted, capsys):
    LANGUAGE["main"]([str(planted.parent), "--worst", "1"])
    worst, figure = capsys.readouterr().out.splitlines()
    assert worst.split() == ["9", str(planted)]
    assert figure.startswith("450.0 dialect words per 1,000 of 20 ")

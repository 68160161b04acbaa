"""What `poziomka tasks` says of tasks with long thoughts, and of tasks whose problems are read."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tasks/grade_school"


def test_a_thought_of_several_lines_stands_below_its_beginning(poziomka):
    output = poziomka("tasks", "show", "sums", "--level", "5", "--count", "1")[1]
    thought = output.split("  thought  ")[1].split("  answer   ")[0].rstrip().splitlines()
    assert len(thought) == 4
    assert all(line.startswith(" " * 11) and line[11] != " " for line in thought[1:])


def test_a_task_whose_problems_are_read_is_listed_with_how_to_name_it(poziomka):
    assert "grade_school:WHERE  from files      Grade-school word problems" in poziomka("tasks")[1]


def test_problems_are_shown_from_a_folder(poziomka):
    status, output, _ = poziomka("tasks", "show", f"grade_school:{FOLDER}", "--count", "2")
    assert status == 0
    assert output.startswith("Grade-school word problems")
    assert "8 problems to train on · split train" in output
    assert "Ola picks 3 baskets" in output
    assert "answer   105" in output


def test_a_task_whose_files_are_not_there_is_one_sentence(poziomka, tmp_path):
    for name, words in (("grade_school", "name it grade_school:FOLDER"), (f"grade_school:{tmp_path}", "no file")):
        status, _, errors = poziomka("tasks", "show", name)
        assert status == 2
        assert words in errors
        assert errors.count("\n") == 1

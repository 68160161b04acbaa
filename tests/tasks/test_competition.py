"""Competition problems are read strictly or refused by line, and answers are judged strictly or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.splits import SPLITS
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import shipped, task_named
from poziomka.tasks.math.competition import SAMPLE, boxed, competition, problem_of
from poziomka.testing import check_task

ROW = {"problem": "How many?", "answer": "1"}


@pytest.fixture(scope="module")
def task():
    return competition("sample")


@pytest.fixture
def folder(tmp_path):
    """Writes splits and returns the name of their task."""

    def write(**splits):
        for split, rows in splits.items():
            (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return f"competition:{tmp_path}"

    return write


def judged(problem, answer, scorer=None, stop=Stop.END):
    transcript = Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> hm </think> {answer}", stop=stop)
    return judge(scorer or competition("sample").scorer, problem, transcript)


def asked(question, answer):
    return problem_of({"problem": question, "answer": answer}, "here")


def test_the_sample_keeps_a_tasks_contract(task):
    check_task(task, problems=8)
    assert "competition:sample" in shipped()


def test_every_gold_answer_of_the_sample_is_right_and_every_mistake_wrong_and_the_audit_agrees(task):
    for split in ("train", "test"):
        for problem in task.first(split, 100):
            assert judged(problem, problem.answer).correct
            assert judged(problem, problem.answer, task.audit).correct
            mistakes = task.mistakes(problem)
            assert mistakes
            for what, wrong in mistakes.items():
                assert judged(problem, wrong).reward == 0, (problem.answer, what, wrong)
                assert what.endswith("another unit") or not judged(problem, wrong, task.audit).correct


def test_the_sample_has_many_forms_and_is_in_both_splits(task):
    rows = [
        json.loads(line) for split in ("train", "test") for line in (SAMPLE / f"{split}.jsonl").read_text().splitlines()
    ]
    assert len(rows) == sum(map(task.count, SPLITS)) >= 20
    keys = [problem.key for split in SPLITS for problem in task.first(split, 99)]
    assert len(keys) == len(set(keys))


def test_a_row_may_have_its_answer_in_the_box_of_its_solution_and_a_level_in_words(folder):
    row = {
        "problem": "What is half of $\\frac{1}{2}$?",
        "solution": r"It is $\boxed{\frac{1}{4}}$.",
        "level": "Level 3",
    }
    problem = task_named(folder(train=[row], test=[ROW])).problem("train", 0)
    assert (problem.answer, problem.level) == (r"\boxed{\frac{1}{4}}", 3)
    assert problem.prompt[0].content.endswith(r"Put the final answer in \boxed{}.")


def test_whole_numbers_with_zeros_before_them_and_as_json_are_read(folder):
    name = folder(test=[ROW | {"problem": "a?", "answer": "073"}, ROW | {"problem": "b?", "answer": 73}])
    for problem in task_named(name).first("test", 2):
        assert all(judged(problem, answer).correct for answer in ("73", "It is 73.", r"\boxed{73}", r"$\boxed{073}$."))


def test_a_folder_without_a_training_split_is_for_evaluation(folder):
    task = task_named(folder(test=[ROW]))
    assert (task.count("train"), task.count("test"), task.demonstration) == (0, 1, None)
    with pytest.raises(TaskError, match="no problems in 'train'"):
        task.take("train", 0, 1)
    check_task(task)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (r"The answer is $\boxed{\frac{3}{4}}$.", Verdict.CORRECT),
        (r"\[\boxed{ \dfrac{3}{4} }\]", Verdict.CORRECT),
        (r"**\boxed{0.75}**", Verdict.CORRECT),
        (r"\boxed {\frac{3}{4}}", Verdict.CORRECT),
        (r"\boxed{\frac{4}{3}}", Verdict.WRONG),
        (r"\boxed{9**9**9}", Verdict.UNPARSED),
        (r"\boxed{9^{9^{9}}}", Verdict.WRONG),
        (r"\boxed{\frac{3}{4}} or so", Verdict.UNPARSED),
        (r"\boxed{\frac{3}{4}} \boxed{\frac{3}{4}}", Verdict.UNPARSED),
        (r"\boxed{\boxed{\frac{3}{4}}}", Verdict.UNPARSED),
        (r"\boxed{\frac{3}{4}", Verdict.UNPARSED),
        (r"boxed{\frac{3}{4}}", Verdict.UNPARSED),
        (r"\boxed{}", Verdict.UNPARSED),
        (r"\boxed{ }", Verdict.UNPARSED),
        (r"\boxed", Verdict.UNPARSED),
        (r"It is not \boxed{\frac{3}{4}}.", Verdict.UNPARSED),
        (r"The answer isn't equal to $\boxed{\frac{3}{4}}$.", Verdict.UNPARSED),
        (r"As 5 or 6 is not prime, the share is \boxed{\frac{3}{4}}.", Verdict.CORRECT),
        (r"\frac{3}{4}", Verdict.UNPARSED),
        ("3/4", Verdict.UNPARSED),
        ("", Verdict.UNPARSED),
        (r"\boxed{\frac{３}{4}}", Verdict.UNPARSED),
        ("x" * 30_000 + r"\boxed{\frac{3}{4}}", Verdict.UNPARSED),
    ],
)
def test_an_answer_has_one_box_and_nothing_after_it(answer, verdict):
    assert judged(asked("What is left?", r"\frac{3}{4}"), answer).verdict is verdict


@pytest.mark.parametrize(
    "answer", ["204 or 205", "not 204", "204. No, it is 205.", "204 and so on", "2*102", "204 204", "204 million"]
)
def test_a_number_without_a_box_stands_alone(answer):
    problem = asked("How far?", "204")
    assert judged(problem, "So the answer is 204.").correct
    assert judged(problem, answer).reward == 0


def test_a_number_does_not_do_where_the_gold_answer_is_none():
    assert judged(asked("How much?", r"\frac{1}{2}"), "0.5").verdict is Verdict.UNPARSED


@pytest.mark.fault("E6")
@pytest.mark.parametrize("answer", [r"\fbox{12}", r"\framebox{12}", r"It is $\fbox{12}$."])
def test_another_box_is_read_or_not_and_never_an_error(answer):
    assert judged(asked("How many?", "12"), answer).verdict in (Verdict.CORRECT, Verdict.UNPARSED)
    assert judged(asked("How many?", "12"), answer.replace("12", "13")).verdict in (Verdict.WRONG, Verdict.UNPARSED)


@pytest.mark.fault("E7")
@pytest.mark.parametrize(
    "answer",
    [
        *(
            r"-\boxed{12}",
            r"1\boxed{12}",
            r"2\cdot\boxed{12}",
            r"$2 \cdot \boxed{12}$",
            r"2 * \boxed{12}",
            r"x\boxed{12}",
        ),
        *(r"x > \boxed{12}", r"x \neq \boxed{12}", r"x \ge \boxed{12}", r"\frac{1}{2}\boxed{12}", r"\sqrt{\boxed{12}}"),
        *(r"\boxed{12\text{ million}}", r"\boxed{12 \text{ dozen}}", r"\boxed{12\text{ Millionen}}", r"\boxed{x > 12}"),
        *(
            r"half of \boxed{12}",
            r"It can't be \boxed{12}.",
            r"nicht \boxed{12}",
            r"twice \boxed{12}",
            r"minus \boxed{12}",
        ),
        *(
            r"It is not equal to $\boxed{12}$.",
            r"at least \boxed{12}",
            "It is no more than\n\\boxed{12}",
            r"a\boxed{12}",
        ),
        *("half of 12", "can't be 12", "12 million", "x > 12", "12 and a half", "12 or 13", "12? No.", "nicht 12"),
    ],
)
def test_what_stands_beside_the_answer_may_make_it_another(answer):
    assert judged(asked("How many?", "12"), answer).reward == 0


@pytest.mark.fault("B10")
@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    ("gold", "inside"),
    [
        *(
            ("-5", "−5"),
            ("-5", "–5"),
            ("90", "90°"),
            (r"90^\circ", "90°"),
            (r"\frac{1}{2}", "½"),
            (r"\frac{3}{2}", "1½"),
        ),
        *(
            (r"2\pi", "2π"),
            (r"\sqrt{2}", "√2"),
            (r"3\sqrt{2}", "3√2"),
            ("12", "$12$"),
            ("12", r"\(12\)"),
            ("12", "12."),
        ),
        *(("1000", r"1\,000"), ("1234", r"1{,}234"), ("18", r"\text{18}"), ("18", r"18\text{ dollars}"), ("5", "5.")),
        *(
            ("18", r"\text{18 dollars}"),
            ("1234", "x=1234"),
            ("1234", "1234km"),
            ("1234", "1234 km"),
            ("12", r"\text{12 km}"),
            ("x^2", "x²"),
        ),
        *((r"\emptyset", r"\emptyset"), (r"\emptyset", r"\varnothing"), (r"\emptyset", r"\{\}"), (r"\emptyset", "∅")),
        *((r"\{1,2\}", "{2, 1}"), (r"\{1,2\}", r"\{2,1\}"), (r"\{1,2,3\}", r"\left\{3,1,2\right\}")),
    ],
)
def test_a_right_answer_is_right_in_every_clear_spelling(gold, inside):
    assert judged(asked("What is it?", gold), boxed(inside)).correct


@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    ("gold", "inside"),
    [
        *(
            ("12", "12."),
            ("[1,2]", "[1,2]."),
            (r"10\%", r"10\%."),
            ("90", "90°."),
            ("90", r"$90^\circ.$"),
            ("12", "$12.$"),
        ),
        *((r"\{1,2\}", r"\{2,1\}."), (r"\frac{1}{2}", "½."), ("5!", "5!."), ("x^2", "x².")),
    ],
)
def test_a_full_stop_ends_what_is_in_a_box(gold, inside):
    assert judged(asked("What is it?", gold), boxed(inside)).correct


@pytest.mark.parametrize(
    "answer",
    [
        *(
            r"x = \boxed{12}",
            r"5 + 7 = \boxed{12}",
            r"\therefore \boxed{12}",
            r"**Answer:** $\boxed{12}$",
            r"\[\boxed{12}\]",
        ),
        *(
            r"The length of AB is $\boxed{12}$.",
            r"If n = 3, it is \boxed{12}.",
            "that is what we\nfind.\n\n$$\\boxed{12}$$",
        ),
        *(r"The value is not 3. It is \boxed{12}.", r"there is a total of \boxed{12}", r"\text{Answer: }\boxed{12}"),
        *(r"答案是\boxed{12}", "\\begin{align*} x &= 5+7 \\\\ &= \\boxed{12} \\end{align*}", "x=12", "12 km", "12°"),
    ],
)
def test_what_leads_to_the_answer_leaves_it_as_it_is(answer):
    assert judged(asked("How many?", "12"), answer).correct


def test_repeating_a_formula_of_the_question_is_no_answer():
    problem = asked(r"Simplify $\sqrt{72} + \frac{x}{2}$.", r"6\sqrt{2} + \frac{x}{2}")
    assert judged(problem, boxed(r"6\sqrt{2}+\frac{x}{2}")).correct
    assert judged(problem, boxed(r"\frac{x}{2}+\sqrt{72}")).reward == 0
    kept = asked(r"Is $6\sqrt{2}$ as simple as can be? If so, repeat it.", r"6\sqrt{2}")
    assert judged(kept, boxed(r"6\sqrt{2}")).correct


def test_repeating_the_question_is_no_answer():
    problem = asked("Bo is 7 years older than his brother, and twice his age. How old is the brother?", "7")
    assert judged(problem, problem.prompt[0].content).reward == 0
    assert (
        judged(problem, "Bo is 7 years older than his brother, and twice his age. How old is the brother?").reward == 0
    )


def test_a_reply_that_was_cut_is_truncated(task):
    assert judged(task.problem("test", 1), r"\boxed{\frac{5", stop=Stop.LENGTH).verdict is Verdict.TRUNCATED


def test_a_gold_answer_that_cannot_be_read_is_an_error_and_never_a_reward(task):
    broken = replace(task.problem("test", 0), answer=r"\boxed{\frac{1}{}")
    score = judged(broken, r"\boxed{the box is never closed}")
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"problem": "How many?", "answer": r"\frac{1}{"}, r"gold answer .* of line 1 of .* cannot be read.*mend it"),
        ({"problem": "How many?", "answer": ""}, "cannot be read"),
        ({"problem": "How many?", "answer": "１"}, "cannot be read"),
        ({"problem": "How many?", "answer": [1]}, "must be a text or a whole number"),
        ({"problem": "How many?", "answer": True}, "must be a text or a whole number"),
        ({"problem": "How many?", "solution": "So it is 3."}, "there is no box"),
        ({"problem": "How many?", "solution": r"\boxed{3}, \boxed{4}"}, "there are 2 boxes"),
        ({"problem": "How many?"}, "there is no box"),
        ({"answer": "3"}, "'problem' or 'question'"),
        ([1], "'problem' or 'question'"),
    ],
)
def test_a_row_that_is_no_problem_is_refused_by_its_line(folder, row, words):
    with pytest.raises(TaskError, match=words):
        task_named(folder(train=[row]))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"{oops", "line 1 of .* is not JSON"), (b"\n\n", "holds no problem"), (b"\xff", "no UTF-8 text")],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, data, words):
    (tmp_path / "train.jsonl").write_bytes(data)
    with pytest.raises(TaskError, match=words):
        competition(str(tmp_path))


def test_a_folder_that_is_not_there_is_said_in_a_sentence(tmp_path):
    with pytest.raises(TaskError, match=r"there is no file .*name a folder with test\.jsonl"):
        competition(str(tmp_path / "nowhere"))


def test_without_a_network_the_hub_is_said_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TaskError, match=r"the hub did not give train\.jsonl of owner/name .*download it yourself"):
        competition("owner/name")


def test_without_math_verify_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(competition.__globals__, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="math-verify"):
        competition("sample")


def test_the_sample_lies_inside_the_package():
    assert Path("poziomka/tasks/math/samples/competition").parts == SAMPLE.parts[-5:]


@pytest.mark.parametrize("answer", ["2a_{n-1}+1", "F_{2n}", "x_{-1}", "x_{ab} + x_{cd}", "a_n"])
def test_an_answer_with_an_index_is_right_and_with_another_index_wrong(task, answer):
    problem = asked("What is it?", answer)
    assert judged(problem, boxed(answer)).correct
    mistakes = {what: wrong for what, wrong in task.mistakes(problem).items() if "index" in what}
    assert len(mistakes) == 2
    for wrong in mistakes.values():
        assert judged(problem, wrong).reward == 0, wrong

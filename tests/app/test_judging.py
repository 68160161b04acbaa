"""A judge is trained on a policy's own replies, measured on held-out problems, saved and loaded, and it selects."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
import torch

from poziomka.app.public.judging import load_judge, train_judge
from poziomka.app.public.model import Model
from poziomka.core.errors import LearningError, ModelError, SettingsError, TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.verdict_form import VerdictForm
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.learning.loops.judge import JudgeSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.lora import LoraSettings
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.testing import ScriptedSampler
from poziomka.thinking.judges.judge import judgements

torch.set_num_threads(1)
SYMBOLS = ["a", "b", "c", "d", "e", "f"]
VERDICTS = ["?", "no", "yes", "0", "1", "2", "3", ";"]
FORM = VerdictForm("outcome", "?", ("no", "yes"))
BINS = VerdictForm("value", "?", ("0", "1", "2", "3"))
QUICK = OptimizerSettings(learning_rate=3e-3, warmup_steps=5, decay_ratio=0.5)
SETTINGS = JudgeSettings(
    problems=150, attempts=4, held_out=30, max_tokens=8, steps=200, labels_per_step=64, optimizer=QUICK
)


def source(split, index, level):
    draw = random.Random(f"{split} {index}")
    pair = draw.choices(SYMBOLS, k=2)
    return Problem(f" {pair[0]} {pair[1]}", pair[0], task="first", key=f"{split} {index}")


def scorer(problem, transcript):
    answer = transcript.reply.split()[-1:]
    return Score.right("x") if answer == [problem.answer] else Score.wrong(str(answer))


FIRST = Task("first", source, scorer, trusted=True, symbols=tuple(SYMBOLS))


def guess(transcript, sampling):
    """Answers with one of the two symbols of the prompt, and with another one in a third of the cases."""
    draw = random.Random(f"{transcript.text} {sampling.seed}")
    return f" {draw.choice([*transcript.text.split()[:2], draw.choice(SYMBOLS)])}"


def small(tmp_path, symbols=(*SYMBOLS, *VERDICTS), name="base"):
    tokenizer = Tokenizer.of_symbols(symbols)
    model = build_model("transformer", TransformerSettings(width=32, layers=2, heads=2), len(tokenizer), 0)
    folder = tmp_path / name
    folder.mkdir()
    save_model(folder, model, tokenizer)
    return Model(str(folder), model, PlainFormat(tokenizer), folder, "float32")


@pytest.fixture
def model(tmp_path):
    return small(tmp_path)


@pytest.fixture
def trained(model, tmp_path):
    """A judge with the weights of a tiny model, of a scripted policy, whose tokenizer is another."""
    return train_judge(FIRST, ScriptedSampler(guess), tmp_path / "judge", model=model, form=FORM, settings=SETTINGS)


def selected(judge, sampler, n, problems=60):
    """1.0 or 0.0 by problem: whether the reply with the highest value of n is correct, and the share of all n."""
    groups = collect(sampler, FIRST, FIRST.take("test", 0, problems), SETTINGS.sampling, attempts=n, name="select")
    best, single = [], []
    for group in groups:
        transcripts = [rollout.transcript for rollout in group]
        found, _ = asyncio.run(judgements(judge, sampler, transcripts, None, 0))
        values = [each.value for each in found]
        best.append(float(group[values.index(max(values))].score.correct))
        single.append(sum(rollout.score.correct for rollout in group) / n)
    return best, single


def test_a_trained_judge_tells_right_from_wrong_and_its_choice_beats_one_try(trained):
    assert trained.quality.auc.mean >= 0.9
    assert trained.quality.auc_within.mean >= 0.9
    assert trained.quality.gain[4].low > 0
    assert trained.quality.harmful == []
    assert trained.quality.ceiling.mean > trained.quality.accuracy.mean
    assert set(trained.counts) == {"no", "yes"}
    best, single = selected(trained.judge, ScriptedSampler(guess), 4)
    assert sum(best) > sum(single) + 6
    again = load_judge(trained.folder)
    assert again.form == FORM
    replies = [
        group[0].transcript
        for group in collect(ScriptedSampler(guess), FIRST, FIRST.take("test", 0, 5), SETTINGS.sampling)
    ]
    values, restored = ([each.value for each in asyncio.run(judge.judge(replies))] for judge in (trained.judge, again))
    assert restored == pytest.approx(values, abs=1e-6)
    saved = json.loads((trained.folder / "training" / "results" / "judge.json").read_text())
    assert saved["outcome"]["auc"]["mean"] == trained.quality.auc.mean
    assert "AUC" in str(trained)


def few(**changes):
    return replace(SETTINGS, problems=8, held_out=6, steps=3, labels_per_step=4, **changes)


def test_a_judge_of_the_policys_own_weights_reads_its_tokens_and_leaves_it_unchanged(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.weights.state_dict().items()}
    guided = replace_first_tokens(model)
    found = train_judge(guided, model, tmp_path / "own", form=FORM, settings=few(max_tokens=2))
    assert found.judge.parameters == model.sampler().capabilities.parameters
    assert all(torch.equal(before[name], tensor) for name, tensor in model.weights.state_dict().items())
    again = train_judge(guided, model, tmp_path / "own again", form=FORM, settings=few(max_tokens=2))
    assert repr(again.quality) == repr(found.quality)  # NaN where nothing is accepted


def replace_first_tokens(model):
    """A task of which an untrained model solves about half: the parity of its first token."""
    known = model.tokenizer

    def parity(problem, transcript):
        said = known.encode(transcript.reply.replace("<think>", ""))
        return Score.right("x") if said and said[0] % 2 else Score.wrong("x")

    return replace(FIRST, scorer=parity)


def test_adapters_are_saved_in_place_of_weights(model, tmp_path):
    settings = few(lora=LoraSettings(rank=2, alpha=4.0))
    policy = ScriptedSampler(guess)
    found = train_judge(FIRST, policy, tmp_path / "lora", model=model, form=FORM, settings=settings)
    assert (found.folder / "adapter_model.safetensors").is_file()
    assert not (found.folder / "model.safetensors").exists()
    replies = [collect(policy, FIRST, FIRST.take("test", 0, 1), SETTINGS.sampling)[0][0].transcript]
    values = [asyncio.run(judge.judge(replies))[0].value for judge in (found.judge, load_judge(found.folder))]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_a_value_model_is_measured_on_replies_and_on_steps(model, tmp_path):
    def stepwise(transcript, sampling):
        return guess(transcript, sampling) if ";" in transcript.reply else " a ;" + guess(transcript, sampling)

    settings = few(delimiter=" ;", continuations=2, attempts=2)
    found = train_judge(FIRST, ScriptedSampler(stepwise), tmp_path / "value", model=model, form=BINS, settings=settings)
    assert found.quality.judged == 6 * 2
    assert found.step_quality.judged == 6 * 2 * 2
    assert load_judge(found.folder).form == BINS
    assert "first steps" in str(found)


def test_the_same_call_resumes_and_repeats(model, tmp_path):
    policy, folder = ScriptedSampler(guess), tmp_path / "judge"
    first = train_judge(FIRST, policy, folder, model=model, form=FORM, settings=few())
    second = train_judge(FIRST, policy, folder, model=model, form=FORM, settings=few())
    assert repr(second.quality) == repr(first.quality)  # NaN where nothing is accepted


def test_what_cannot_become_a_judge_is_refused(model, tmp_path):
    policy = ScriptedSampler(guess)
    with pytest.raises(SettingsError, match="model="):
        train_judge(FIRST, policy, tmp_path / "1", form=FORM, settings=few())
    with pytest.raises(ModelError):  # the default question is not in the vocabulary
        train_judge(FIRST, policy, tmp_path / "2", model=model, settings=few())
    with pytest.raises(LearningError):  # always wrong
        train_judge(FIRST, ScriptedSampler([" ;"]), tmp_path / "3", model=model, form=FORM, settings=few())
    broken = replace(FIRST, scorer=lambda problem, transcript: 1 / 0)
    with pytest.raises(TaskError):
        train_judge(broken, policy, tmp_path / "4", model=model, form=FORM, settings=few())
    assert not any((tmp_path / str(number)).exists() for number in range(1, 5))


def test_a_folder_with_other_files_is_not_overwritten(model):
    with pytest.raises(SettingsError):
        train_judge(FIRST, ScriptedSampler(guess), model.source, model=model, form=FORM, settings=few())
    assert not (model.source / "judge.json").exists()


def test_a_value_model_learns_how_often_a_step_succeeds(model, tmp_path):
    def hesitant(transcript, sampling):  # right in 3 of 4 cases after "a ;", never after "b ;"
        draw = random.Random(f"{transcript.text} {sampling.seed}")
        first, last = transcript.text.split()[0], transcript.reply.split()[-2:-1]
        if not last:
            return f" {draw.choice('ab')} ; {first}"
        return f" {first}" if last == ["a"] and draw.random() < 0.75 else " 0"

    policy = ScriptedSampler(hesitant)
    settings = replace(
        SETTINGS, problems=25, held_out=10, steps=60, labels_per_step=16, delimiter=" ;", continuations=16
    )
    found = train_judge(FIRST, policy, tmp_path / "steps", model=model, form=BINS, settings=settings)
    prompt = Transcript.of(FIRST.problem("test", 0).prompt)
    steps = [prompt + Span(Author.MODEL, f" {letter} ;", stop=Stop.PHRASE) for letter in "ab"]
    good, bad = (each.value for each in asyncio.run(found.judge.judge(steps)))
    assert good == pytest.approx(0.75, abs=0.2)
    assert bad == pytest.approx(0.125, abs=0.1)  # centre of the lowest of four bins
    assert found.step_quality.auc.mean > 0.8


def test_a_folder_without_a_judge_is_refused(model, tmp_path):
    with pytest.raises(ModelError):
        load_judge(model.source)
    with pytest.raises(ModelError):
        load_judge(tmp_path / "nothing")
    (model.source / "judge.json").write_text(json.dumps({"schema_version": 1, "kind": "outcome"}))
    with pytest.raises(SettingsError):
        load_judge(model.source)

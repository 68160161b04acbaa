"""What a run with a pretrained model measures of the knowledge that training takes away."""

import copy

import pytest
import torch

from poziomka.app.forgetting import QUESTIONS, mean_logprob, texts_of
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import train
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.text.template import TemplateFormat
from poziomka.reports.reading import read
from poziomka.runs import Run

pytestmark = pytest.mark.fault("C3")


@pytest.fixture
def loaded(checkpoint):
    return load_pretrained(str(checkpoint), opens_thought=True)


def test_a_text_is_a_plain_question_and_its_answer_without_a_thought(loaded):
    texts = texts_of(loaded.chat)
    assert len(texts) == len(QUESTIONS) == 12
    tokens, count = texts[0]
    decode = loaded.chat.tokenizer.decode
    assert decode(tokens[-count:]) == "Hamlet was written by William Shakespeare."
    assert "Who wrote Hamlet?" in decode(tokens)
    assert "<think>" not in decode(tokens)
    assert loaded.chat.opens_thought


def test_the_mean_is_over_the_tokens_of_the_answers(loaded):
    (tokens, count), *_ = texts_of(loaded.chat)
    ids = torch.tensor([list(tokens)])
    with torch.no_grad():
        said = loaded.model.logits(loaded.model(ids)[0, :-1]).log_softmax(-1)
    own = said.gather(1, ids[0, 1:, None])[-count:, 0]
    assert mean_logprob(loaded.model, [(tokens, count)]) == pytest.approx(float(own.mean()), abs=1e-5)


def test_a_model_that_answers_everything_alike_is_seen_to_forget(loaded):
    texts = texts_of(loaded.chat)
    before = mean_logprob(loaded.model, texts)
    model = copy.deepcopy(loaded.model)
    (five,) = loaded.chat.tokenizer.encode("5")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for tokens, count in texts[:6]:
        (-model.logits(model(torch.tensor([list(tokens)]))[0, -count - 1]).log_softmax(-1)[five]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert mean_logprob(model, texts) < before


def test_a_text_beyond_the_context_is_left_out(loaded):
    lengths = sorted(len(tokens) for tokens, _ in texts_of(loaded.chat))
    assert len(texts_of(loaded.chat, lengths[3])) == sum(length <= lengths[3] for length in lengths)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_run_measures_start_warm_start_and_end(values, tmp_path, lora):
    recipe = recipe_of(values | {"model": values["model"] | ({"lora": lora} if lora else {})})
    train(recipe, tmp_path, keep_watch=False)
    run = Run.read(tmp_path)
    found = run.results("forgetting")
    assert found["questions"] == 12
    assert list(found["logprobs"]) == ["start", "warm start", "trained"]
    base = load_pretrained(recipe.model.load, recipe.model.precision)
    assert isinstance(base.chat, TemplateFormat)
    assert found["logprobs"]["start"] == pytest.approx(mean_logprob(base.model, texts_of(base.chat)), abs=1e-6)
    assert found["logprobs"]["warm start"] != found["logprobs"]["start"]
    assert read(run).forgetting == found
    assert "Forgetting, on 12 general questions" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_without_a_warm_start_there_are_two_points(values, tmp_path):
    recipe = recipe_of(values, ("sft.steps=0",))
    train(recipe, tmp_path, keep_watch=False)
    assert list(Run.read(tmp_path).results("forgetting")["logprobs"]) == ["start", "trained"]

"""Labels of judges are exact, lessons teach one token, and a trained judge tells right replies from wrong ones."""

import asyncio
import random

import pytest
import torch

from poziomka.core.environment import Reply
from poziomka.core.errors import LearningError, SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.verdict_form import Labelled, VerdictForm
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.learning.loops.judge import JudgeSettings, Verdicts, demand_words, labels_of, teach
from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.samples.verdict_labels import StepLabels, outcome_labels, verdict_lesson
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.learning.session import TrainingSession
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.testing import ScriptedSampler

torch.set_num_threads(1)
FORM = VerdictForm("outcome", "?", ("no", "yes"))
BINS = VerdictForm("value", "?", ("0", "1", "2", "3"))


def scorer(problem, transcript):
    said = transcript.reply.split()[-1:]
    if said == ["crash"]:
        return Score.failed(Verdict.ERROR, "it crashed")
    return Score.right("x") if said == [problem.answer] else Score.wrong(str(said))


def source(split, index, level):
    return Problem.ask("letters", f"{split}{index}", f" q{index}", "x")


LETTERS = Task("letters", source, scorer, trusted=True, size=40)


def test_outcomes_are_the_scorers_and_failed_checks_are_none():
    sampler = ScriptedSampler([" x", " y", " crash"])
    groups = collect(sampler, LETTERS, LETTERS.take("test", 0, 2), SamplingParams(), attempts=3)
    labels = outcome_labels(groups)
    assert [[label.correct for label in own] for own in labels] == [[1.0, 0.0], [1.0, 0.0]]
    assert [label.transcript.reply for label in labels[0]] == [" x", " y"]
    assert {label.problem.key for label in labels[1]} == {"test1"}


def stepwise(transcript, sampling):
    """Writes "a ;" and "b ;", then x if the seed of the request is even, y if it is odd, after "b" of q1 always y."""
    reply = transcript.reply
    rest = " a ; b ; " if ";" not in reply else " b ; " if "b" not in reply else " "
    return rest + ("y" if sampling.seed % 2 or ("q1" in transcript.text and "b" in reply) else "x")


def step_labels(script, delimiter=" ;", problems=2, attempts=1, **settings):
    sampler = ScriptedSampler(script)
    with Scoring(LETTERS) as scoring:
        steps = StepLabels(sampler, scoring, SamplingParams(max_tokens=9), delimiter, **settings)
        return asyncio.run(steps.collect(LETTERS.take("test", 0, problems), attempts, "n")), sampler


def test_the_label_of_a_step_is_the_share_of_its_continuations_that_are_correct():
    labels, sampler = step_labels(stepwise, continuations=5)
    for own in labels:
        assert [label.transcript.reply for label in own[:2]] == [" a ;", " a ; b ;"]
        for label in own:
            seeds = [how.seed for asked, how in sampler.requests if asked.text == label.transcript.text]
            if len(label.transcript.reply.split()) < 5:  # the first request continues the reply itself
                ends = [stepwise(label.transcript, SamplingParams(seed=seed)) for seed in seeds[-5:]]
                assert label.correct == sum(end.split()[-1] == "x" for end in ends) / 5
    assert labels[1][1].correct == 0.0
    assert 0 < labels[0][0].correct < 1
    complete = [own[-1] for own in labels]
    assert [label.correct for label in complete] == [float(label.transcript.reply.endswith("x")) for label in complete]


def test_failed_checks_are_no_part_of_a_label():
    def script(transcript, sampling):
        if ";" not in transcript.reply:
            return " a ; x"
        return " crash" if sampling.seed % 2 else " x"

    labels, _ = step_labels(script, continuations=8, problems=1)
    assert labels[0][0].correct == 1.0
    broken, _ = step_labels(lambda so_far, _: " crash" if ";" in so_far.reply else " a ; crash", continuations=3)
    assert broken == [[], []]


def test_a_delimiter_that_never_comes_leaves_one_step_the_whole_reply():
    labels, sampler = step_labels([" a b x"], delimiter="|", attempts=2)
    assert [[(label.transcript.reply, label.correct) for label in own] for own in labels] == [[(" a b x", 1.0)] * 2] * 2
    assert len(sampler.requests) == 4


def test_only_the_first_steps_are_labelled():
    labels, _ = step_labels([" a ; b ; c ; d ; x"], most_steps=2, continuations=1, problems=1)
    assert len(labels[0]) == 2


def test_continuations_have_the_tokens_that_the_reply_had_left():
    _, sampler = step_labels(stepwise, continuations=1, problems=1)
    left = {asked.reply: how.max_tokens for asked, how in sampler.requests if how.stop == ()}
    assert left == {" a ;": 7, " a ; b ;": 5}


@pytest.mark.parametrize("wrong", [{"delimiter": ""}, {"continuations": 0}, {"most_steps": 0}])
def test_steps_that_cannot_be_labelled_are_refused(wrong):
    with pytest.raises(SettingsError):
        step_labels([" x"], **wrong)


class Silent:
    """An environment that never replies."""

    stop = ("?",)

    def open(self, problem):
        return self

    async def reply(self, transcript):
        return Reply(Span(Author.ENVIRONMENT, " x"))

    def close(self):
        pass


def test_steps_with_an_environment_are_refused_and_outcomes_are_not():
    task = Task("letters", source, scorer, environment=lambda problem: Silent(), trusted=True)
    settings, problems = JudgeSettings(attempts=1, max_tokens=4), task.take("test", 0, 1)
    with pytest.raises(SettingsError):
        labels_of(ScriptedSampler([" x"]), task, problems, BINS, settings, "n")
    (own,) = labels_of(ScriptedSampler([" x"]), task, problems, FORM, settings, "n")
    assert [label.correct for label in own] == [1.0]


# ------------------------------------------------------------------------------------------------------------- lessons
@pytest.fixture
def vocabulary():
    return PlainFormat(Tokenizer.of_symbols(["a", "b", "c", "d", "?", "no", "yes", "0", "1", "2", "3"]))


def reply_to(question, said):
    return Transcript.of(Problem(question).prompt) + Span(Author.MODEL, said)


def test_only_the_verdict_has_weight(vocabulary):
    shown = Transcript.of([Message("user", "a"), Message("assistant", "b"), Message("user", "c")])
    label = Labelled(Problem("c"), shown + Span(Author.MODEL, " d"), 1.0)
    (example,) = imitation_examples([verdict_lesson(vocabulary, FORM, label)], (Author.TEACHER,))
    tokens, weights = list(example.tokens), list(example.imitate)
    assert weights == [0.0] * (len(tokens) - 1) + [1.0]
    assert tokens[-1:] == vocabulary.tokenizer.encode("yes")
    assert tokens[:-1] == list(vocabulary.read(FORM.asked(label.transcript, None)).tokens)


def test_the_words_of_a_form_are_single_different_tokens(vocabulary):
    demand_words(vocabulary, FORM)
    for words in (("no", "a b"), ("no", "perhaps")):
        with pytest.raises(SettingsError):
            demand_words(vocabulary, VerdictForm("outcome", "?", words))


def labels(right, wrong, said=" b"):
    return [Labelled(Problem("a"), reply_to("a", said), float(number < right)) for number in range(right + wrong)]


@pytest.mark.parametrize("balance", [False, True])
def test_lessons_come_as_the_replies_do_or_balanced(vocabulary, balance):
    settings = JudgeSettings(labels_per_step=400, balance=balance)
    verdicts = Verdicts(labels(10, 90), vocabulary, FORM, settings, None)
    assert verdicts.counts == {"no": 90, "yes": 10}
    drawn = [lesson.spans[-1].text for lesson in verdicts.at(1)]
    assert drawn == [lesson.spans[-1].text for lesson in verdicts.at(1)]
    assert drawn.count("yes") / 400 == pytest.approx(0.5 if balance else 0.1, abs=0.08)


def test_labels_of_one_verdict_teach_nothing(vocabulary):
    with pytest.raises(LearningError):
        Verdicts(labels(5, 0), vocabulary, FORM, JudgeSettings(), None)


def test_what_cannot_be_a_lesson_is_left_out_and_counted(vocabulary, open_run, learner_of, build):
    bad = labels(1, 0, said=" unknown") + labels(0, 1, said=" b" * 50)
    verdicts = Verdicts(labels(3, 3) + bad, vocabulary, FORM, JudgeSettings(steps=1), context=20)
    assert sum(verdicts.left_out.values()) == 2
    assert len(verdicts.lessons) == 6
    run = open_run()
    teach(TrainingSession(run, learner_of(build(len(vocabulary.tokenizer))), vocabulary.tokenizer), verdicts)
    assert len([note for note in run.notes if "left out" in note]) == 2


def test_every_lesson_counts_by_its_verdict_alone_and_a_divergence_is_refused(vocabulary, open_run, learner_of, build):
    verdicts = Verdicts(labels(3, 3), vocabulary, FORM, JudgeSettings(steps=1), None)
    pulled = {"kl": DivergenceSettings(kind="reverse", weight=1.0)}
    held = learner_of(build(len(vocabulary.tokenizer)), reference=build(len(vocabulary.tokenizer)), learner=pulled)
    with pytest.raises(SettingsError):
        teach(TrainingSession(open_run("held"), held, vocabulary.tokenizer), verdicts)
    session = TrainingSession(open_run(), learner_of(build(len(vocabulary.tokenizer))), vocabulary.tokenizer)
    teach(session, verdicts)
    (line,) = session.run.metrics()
    assert line["tokens/learned_from"] == 32
    assert line["loss/next_token"] > 0


def test_a_scripted_policy_gives_the_labels_of_both_kinds():
    replies = random.Random(0)
    sampler = ScriptedSampler(lambda so_far, _: (" " if ";" in so_far.reply else " a ; ") + replies.choice("xy"))
    settings = JudgeSettings(attempts=2, max_tokens=6, delimiter=" ;", continuations=3)
    problems = LETTERS.take("test", 0, 3)
    outcomes = labels_of(sampler, LETTERS, problems, FORM, settings, "outcome")
    assert {label.correct for own in outcomes for label in own} == {0.0, 1.0}
    steps = labels_of(sampler, LETTERS, problems, BINS, settings, "steps")
    assert [len(own) for own in steps] == [4, 4, 4]
    assert {label.correct for own in steps for label in own[::2]} <= {0.0, 1 / 3, 2 / 3, 1.0}

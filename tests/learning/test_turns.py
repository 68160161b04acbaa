"""Turns with tools: which are void, what is left out for it, and how use is told."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.environments.tools.registry import toolbox_named
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.samples.advantages import batch_std
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.learning.samples.turns import describe_tools, rate_by_level, void, without_void
from poziomka.learning.samples.weighting import imitation_examples, policy_examples
from poziomka.learning.session import TrainingSession
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.tasks import task_named
from poziomka.tasks.tools import with_tools

CALL, RESULT = " <tool> 7 * 8 </tool>", " <result> 5 6 </result>"


def model(text, stop=Stop.END):
    count = len(text.split())
    return Span(Author.MODEL, text, compact(range(9, 9 + count)), compact_floats([-1.0] * count), stop, "v1")


def tool(text=RESULT, seconds=0.25):
    return Span(Author.ENVIRONMENT, text, compact([5, 6, 7, 8]), seconds=seconds)


def attempt(*spans, reward=0.0, name="r", level=1):
    problem = replace(Problem.ask("large_numbers", "7*8+5", " 7 * 8 + 5", "6 1"), level=level)
    opening = [Span(Author.USER, " 7 * 8 + 5", compact([1, 2])), Span(Author.TEMPLATE, " <think>", compact([3]))]
    verdict = Verdict.CORRECT if reward else Verdict.WRONG
    return Rollout(name, problem, (Branch(Transcript((*opening, *spans)), Score(reward, verdict, "")),), "v1")


CALLED = (model(CALL, Stop.PHRASE), tool())


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ((model(" 5 6 </think> 6 1"),), False),
        ((*CALLED, model(" </think> 6 1")), False),
        ((*CALLED, *CALLED, model(" </think> 6 1")), False),
        ((model(" <tool> 7 *", Stop.LENGTH),), True),  # a call that the length cut off
        ((*CALLED, model(" <tool> 7 *", Stop.LENGTH)), True),
        ((*CALLED, model(" 5 6", Stop.LENGTH)), True),  # a thought that never ended
        ((*CALLED, model(" 5 6 </think>")), True),  # it ended in silence
        ((model(CALL, Stop.PHRASE),), True),  # a call that nobody answered
        ((*CALLED, model(" 5 6", Stop.THOUGHT), Span(Author.FORCED, " </think>"), model(" 6 1")), False),
        (CALLED, False),  # the environment spoke last: there was a call
        ((), True),
    ],
)
def test_a_turn_without_an_answered_call_and_without_an_answer_is_void(spans, expected):
    assert void(attempt(*spans).transcript) is expected


@pytest.fixture
def hand_made():
    """A right attempt with a call, a wrong one without, and a void one."""
    return [
        attempt(*CALLED, model(" </think> 6 1"), reward=1.0, name="right"),
        attempt(model(" 5 4 </think> 5 9"), name="wrong"),
        attempt(*CALLED, model(" <tool> 7 *", Stop.LENGTH), name="void"),
    ]


def test_void_attempts_count_in_the_baseline_and_are_not_learned_from(hand_made):
    plain = batch_std([hand_made])
    kept = without_void([hand_made], plain)
    scale = (((2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 3) ** 0.5  # of all three, the void one too
    assert kept[0][2] is None
    assert kept[0][:2] == pytest.approx([2 / 3 / scale, -1 / 3 / scale], abs=1e-4)
    assert kept[0][:2] == plain[0][:2]


def test_the_weights_of_a_hand_made_group_are_exact(hand_made):
    advantages = without_void([hand_made], [[1.0, -0.5, -0.5]])
    right, wrong = policy_examples([hand_made], advantages, "prompt")
    own = 5 + 3 + 5  # tokens of the model in the two attempts that are learned from
    # prompt and template, the call, the tool's answer, the thought's end and the answer
    assert list(right.policy) == pytest.approx([0.0] * 3 + [1 / own] * 5 + [0.0] * 4 + [1 / own] * 3)
    assert list(wrong.policy) == pytest.approx([0.0] * 3 + [-0.5 / own] * 5)


def test_without_tools_nothing_is_void(hand_made):
    with_none = [[attempt(model(" 5 6 </think> 6 1"), reward=1.0), attempt(model(" 5 </think> 1"))]]
    assert without_void(with_none, [[1.0, -1.0]]) == [[1.0, -1.0]]


def test_use_is_told(hand_made):
    told = describe_tools([hand_made])
    assert told == pytest.approx(
        {"tools/rate": 2 / 3, "tools/calls": 2 / 3, "tools/seconds": 0.5, "rollouts/void": 1 / 3}
    )
    assert describe_tools([]) == {}


def test_a_prompts_tool_message_is_no_call():
    spans = (Span(Author.ENVIRONMENT, RESULT, compact([5])), model(" </think> 6 1"))
    assert describe_tools([[attempt(*spans)]])["tools/rate"] == 0.0


def test_use_is_told_by_level(hand_made):
    easy = attempt(model(" 5 6 </think> 6 1"), reward=1.0, level=1)
    hard = [replace(rollout, problem=replace(rollout.problem, level=3)) for rollout in hand_made]
    assert rate_by_level([*hard, easy]) == pytest.approx({1: 0.0, 3: 2 / 3})


# ------------------------------------------------------------------------------------------------------- end to end
@pytest.fixture
def task():
    toolbox = toolbox_named("calculator", "spelled")
    yield with_tools(task_named("large_numbers"), toolbox)
    toolbox.close()


@pytest.fixture
def large_chat(task):
    return PlainFormat(Tokenizer.of_symbols(task.symbols))


def test_what_a_tool_says_in_a_demonstration_is_the_tools_and_is_not_learned_from(task, large_chat):
    lessons = Lessons(task, large_chat, LessonSettings(skill_share=1.0, tokens_per_step=4000), 0).at(400, 400)
    called = [lesson for lesson in lessons if any(span.author is Author.ENVIRONMENT for span in lesson)]
    assert len(called) > 5
    assert len(called) == sum("<tool>" in lesson.text for lesson in lessons), "every call is answered"
    for lesson in called:
        authors = [span.author for span in lesson][-3:]
        assert authors == [Author.TEACHER, Author.ENVIRONMENT, Author.TEACHER]
        result = lesson.spans[-2]
        answer = lesson.reply.partition("</think> ")[2]
        assert result.text == f" <result> {answer} </result>"
        (example,) = imitation_examples([lesson], (Author.TEACHER,))
        assert [weight > 0 for weight in example.imitate] == lesson.by(Author.TEACHER)
        assert large_chat.tokenizer.decode(lesson.tokens).split() == lesson.text.split()


def test_a_demonstration_has_the_tokens_that_the_model_would_write(task, large_chat):
    problem = next(p for p in task.take("train", 0, 100, 3) if "<tool>" in task.demonstration(p)[0])
    only = replace(task, source=lambda *_: problem)
    lesson = Lessons(only, large_chat, LessonSettings(skill_share=1.0, tokens_per_step=1), 0).at(1, 1)[0]
    whole = large_chat.tokenizer.encode(lesson.text)
    assert list(lesson.tokens)[1:-1] == whole
    assert lesson.tokens[-1] == large_chat.tokenizer.end


def test_without_an_environment_a_demonstrated_call_stands_unanswered(large_chat):
    lessons = Lessons(task_named("large_numbers"), large_chat, LessonSettings(skill_share=1.0, tokens_per_step=4000), 0)
    shown = lessons.at(400, 400)
    assert any("<tool>" in lesson.text for lesson in shown)
    assert not any(span.author is Author.ENVIRONMENT for lesson in shown for span in lesson)


class Caller(Sampler):
    """Writes with a model, and begins every reply with a call, as if the model had."""

    def __init__(self, inner):
        self.inner = inner

    async def extend(self, transcript, sampling, on_token=None):
        if any(span.author is Author.MODEL for span in transcript):
            return await self.inner.extend(transcript, sampling)
        read = self.inner.read(transcript)
        ids = compact(self.inner.chat.tokenizer.encode(CALL))
        return read + Span(Author.MODEL, CALL, ids, compact_floats([-1.0] * len(ids)), Stop.PHRASE, "initial")


def test_what_a_tool_says_in_reinforcement_has_no_weight(task, large_chat, build):
    sampler = Caller(LocalSampler(build(len(large_chat.tokenizer)), large_chat))
    problems = task.take("train", 0, 3)
    groups = collect(sampler, task, problems, SamplingParams(max_tokens=20, max_thinking_tokens=12), attempts=4)
    examples = policy_examples(groups, [[1.0] * 4] * 3, "token")
    assert len(examples) == 12
    rollouts = [rollout for group in groups for rollout in group]
    for example, rollout in zip(examples, rollouts, strict=True):
        results = [span.text for span in rollout.transcript if span.author is Author.ENVIRONMENT]
        assert results[0] == " <result> 5 6 </result>"
        assert [weight > 0 for weight in example.policy] == rollout.transcript.by(Author.MODEL)
        assert not any(example.imitate)


def by_coin(task):
    """The task with a reward that is a coin toss, so that a model from nothing has right and wrong attempts."""

    def scorer(_problem, transcript):
        right = seed_of("coin", str([list(span.logprobs or ()) for span in transcript])) % 2
        return Score.right("1") if right else Score.wrong("0")

    return replace(task, scorer=scorer)


@pytest.mark.parametrize("tools", [True, False])
def test_reinforcement_learns_nothing_from_void_attempts_unless_told_to(
    task, large_chat, build, learner_of, open_run, tools
):
    task = by_coin(task if tools else task_named("large_numbers"))
    lines = {}
    for kind in ("drop", "keep"):
        model = build(len(large_chat.tokenizer))
        settings = RLSettings(
            steps=1, prompts_per_step=8, group_size=4, max_tokens=8, max_thinking_tokens=None, void=kind
        )
        progress = TrainingSession(open_run(kind), learner_of(model), large_chat.tokenizer)
        reinforce(progress, Policy(LocalSampler(model, large_chat)), task, Curriculum(task, seed=0), settings)
        (lines[kind],) = progress.run.metrics()
    assert lines["drop"]["reward/mean"] == lines["keep"]["reward/mean"]
    if tools:
        assert 0.2 < lines["drop"]["rollouts/void"] < 0.9
        assert 0 < lines["drop"]["tokens/learned_from"] < lines["keep"]["tokens/learned_from"]
    else:
        assert "rollouts/void" not in lines["drop"]
        assert lines["drop"]["tokens/learned_from"] == lines["keep"]["tokens/learned_from"]

"""From problems to judged groups."""

import asyncio
from dataclasses import replace

import pytest

from poziomka.core.environment import Reply, opened
from poziomka.core.errors import EnvironmentFailure, SamplerError, SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch
from poziomka.core.rollouts.collect import Collector, collect, wait_for
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.strategy import Attempt, Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.testing import ScriptedSampler

PROBLEMS = [Problem.ask("sums", f"{number}+1", f"{number} + 1 ?", str(number + 1)) for number in range(3)]


def scorer(problem, transcript):
    answer = transcript.reply.split()[-1]
    return Score.right(answer) if answer == problem.answer else Score.wrong(answer)


class Room:
    """Opens sessions that answer "go" with "on"; any part of it can be made to fail."""

    stop = ("go",)

    def __init__(self, fails=""):
        self.fails = fails
        self.closed = 0

    def open(self, problem):
        self.fail("open")
        return self

    async def reply(self, transcript):
        self.fail("reply")
        return Reply(Span(Author.ENVIRONMENT, " on"))

    def close(self):
        self.closed += 1
        self.fail("close")

    def fail(self, part):
        if part == self.fails:
            message = f"no {part}"
            raise RuntimeError(message)


def task(room=None, **more):
    return Task("sums", None, scorer, environment=room and (lambda problem: room), trusted=True, **more)


def gather(*script, room=None, attempts=1, name="collect", problems=PROBLEMS[:1]):
    return collect(ScriptedSampler(script), task(room), problems, SamplingParams(), attempts=attempts, name=name)


def test_groups_come_in_the_order_of_the_problems():
    groups = gather(" 1", " 2", " 9", problems=PROBLEMS)
    assert [group[0].problem.key for group in groups] == ["0+1", "1+1", "2+1"]
    assert [group[0].score.correct for group in groups] == [True, True, False]


def test_a_group_holds_every_attempt():
    (group,) = gather(" 1", " 9", attempts=4)
    assert [rollout.score.reward for rollout in group] == [1, 0, 1, 0]


def test_no_problems_are_no_groups():
    assert gather(" 1", problems=[]) == []


def test_every_attempt_has_a_seed_of_its_own():
    sampler = ScriptedSampler([" 1"])
    collect(sampler, task(), PROBLEMS, SamplingParams(), attempts=4)
    assert len({sampling.seed for _, sampling in sampler.requests}) == 12


def test_the_same_problem_twice_gets_other_seeds():
    sampler = ScriptedSampler([" 1"])
    collect(sampler, task(), PROBLEMS[:1] * 2, SamplingParams())
    assert len({sampling.seed for _, sampling in sampler.requests}) == 2


def test_the_same_name_repeats_and_another_does_not():
    def replies(name):
        groups = collect(SEEDS, task(), PROBLEMS, SamplingParams(), name=name)
        return [group[0].transcript.reply for group in groups]

    assert replies("step-1") == replies("step-1") != replies("step-2")


SEEDS = ScriptedSampler(lambda transcript, sampling: f" {sampling.seed}")


def test_a_rollout_names_step_problem_attempt_and_policy():
    (group,) = gather(" 1", name="train/step-12", attempts=2)
    assert [rollout.id for rollout in group] == ["train/step-12/0/0+1/0", "train/step-12/0/0+1/1"]
    assert group[0].policy == "script"


def test_a_scoring_of_ones_own_is_used_and_left_open():
    with Scoring(task()) as scoring:
        for _ in range(2):
            (group,) = collect(ScriptedSampler([" 1"]), task(), PROBLEMS[:1], SamplingParams(), scoring=scoring)
            assert group[0].score.correct


def test_an_environment_takes_part():
    room = Room()
    (group,) = gather(" go", " 1", room=room)
    assert group[0].transcript.reply == " go on 1"
    assert room.closed == 1


def test_a_task_may_have_no_environment_for_some_problems():
    plain = Task("sums", None, scorer, environment=lambda problem: None, trusted=True)
    assert collect(ScriptedSampler([" 1"]), plain, PROBLEMS[:1], SamplingParams())[0][0].score.correct


@pytest.mark.parametrize("part", ["open", "reply", "close"])
def test_an_environment_that_fails_is_an_error_and_never_a_reward(part):
    (group,) = gather(" go", " 1", room=Room(fails=part))
    assert (group[0].score.verdict, group[0].score.reward) == (Verdict.ERROR, None)
    assert f"no {part}" in group[0].score.why


def test_a_session_whose_exchange_failed_is_closed():
    room = Room(fails="reply")
    gather(" go", room=room)
    assert room.closed == 1


def test_an_environment_that_cannot_be_made_fails_each_attempt():
    def broken(problem):
        raise OSError(problem.key)

    broken_task = Task("sums", None, scorer, environment=broken, trusted=True)
    (group,) = collect(ScriptedSampler([" 1"]), broken_task, PROBLEMS[:1], SamplingParams(), attempts=2)
    assert [rollout.score.verdict for rollout in group] == [Verdict.ERROR] * 2
    assert group[0].score.why == "the environment of the task raised OSError: 0+1"


def test_a_failed_attempt_has_no_policy():
    (group,) = gather(" go", room=Room(fails="open"))
    assert group[0].policy is None


def test_a_samplers_error_is_not_the_environments():
    with pytest.raises(SamplerError, match="received int"):
        collect(ScriptedSampler(lambda transcript, sampling: 7), task(Room()), PROBLEMS[:1], SamplingParams())


def test_a_rollout_that_was_not_judged_has_no_score():
    (group,) = gather(" 1")
    bare = type(group[0])("r", PROBLEMS[0], (type(group[0].branches[0])(group[0].transcript),))
    with pytest.raises(ValueError, match="rollout r has not been judged yet"):
        _ = bare.score


def test_collecting_works_inside_a_running_event_loop():
    async def cell() -> int:
        return wait_for(asyncio.sleep(0, 7))

    assert asyncio.run(cell()) == 7


class Twice(Strategy):
    """Replies twice; the second reply answers, and the strategy's own rewards replace the scorer's."""

    def __init__(self, **branch):
        self.branch = branch

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        found = [await sampler.extend(prompt, replace(params, seed=params.seed + turn)) for turn in (0, 1)]
        return Attempt((Branch(found[0]), Branch(found[1], **self.branch)), answer=1)


def attempted(strategy, *script, judge=scorer, room=None, attempts=1):
    judged = Task("sums", None, judge, environment=room and (lambda problem: room), trusted=True)
    with Scoring(judged) as scoring:
        ((*found,),) = Collector(ScriptedSampler(script), scoring, strategy).collect(
            PROBLEMS[:1], SamplingParams(), attempts
        )
    return found


def test_every_branch_is_judged_and_the_answer_is_the_one_that_the_strategy_names():
    (rollout,) = attempted(Twice(), " 9", " 1")
    assert [branch.score.correct for branch in rollout.branches] == [False, True]
    assert rollout.score.answer == rollout.transcript.reply.strip() == "1"
    assert rollout.cost.sampled == 4


def test_a_strategys_reward_replaces_the_scorers():
    (rollout,) = attempted(Twice(reward=0.25), " 9", " 1")
    assert (rollout.score.reward, rollout.score.verdict) == (0.25, Verdict.CORRECT)


def test_a_branch_that_the_strategy_judged_is_not_judged_again():
    (rollout,) = attempted(Twice(score=Score.wrong("lost")), " 9", " 1")
    assert rollout.score.answer == "lost"


def test_a_failed_check_stays_a_failure_whatever_reward_the_strategy_sets():
    def broken(problem, transcript):
        raise KeyError(problem.key)

    (rollout,) = attempted(Twice(reward=1.0), " 9", " 1", judge=broken)
    assert (rollout.score.reward, rollout.score.verdict) == (None, Verdict.ERROR)


class Opens(Strategy):
    """Opens a session for each attempt."""

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        with opened(open_session) as session:
            await session.reply(prompt)
        return Attempt((Branch(prompt),))


@pytest.mark.parametrize("part", ["open", "reply", "close"])
def test_a_session_that_fails_in_a_strategy_fails_its_attempt(part):
    class Broken(Room):
        async def reply(self, transcript):
            try:
                return await super().reply(transcript)
            except RuntimeError as error:
                raise EnvironmentFailure(str(error)) from error

    found = attempted(Opens(), " 1", room=Broken(fails=part), attempts=2)
    assert [rollout.score.verdict for rollout in found] == [Verdict.ERROR] * 2
    assert f"no {part}" in found[0].score.why


def test_an_attempt_names_one_of_its_branches_and_parents_come_first():
    branch = Branch(Transcript.of(PROBLEMS[0].prompt))
    with pytest.raises(ValueError, match="one of its 1 branches: received index 1"):
        Attempt((branch,), answer=1)
    with pytest.raises(ValueError, match="a parent comes before the branches"):
        Attempt((replace(branch, parent=0),))


def test_groups_come_as_they_are_finished_and_an_early_end_cancels_the_rest():
    asked = []

    class Slow(ScriptedSampler):
        async def extend(self, transcript, sampling, on_token=None):
            asked.append(transcript.text)
            if transcript.text.startswith("0"):
                await asyncio.sleep(3600)
            return await super().extend(transcript, sampling, on_token)

    async def first():
        with Scoring(task()) as scoring:
            groups = Collector(Slow([" 2"]), scoring).groups(PROBLEMS, SamplingParams())
            found = await anext(groups)
            await groups.aclose()
        return found

    number, _ = asyncio.run(asyncio.wait_for(first(), 60))
    assert number in (1, 2)
    assert len(asked) == 3


# ----------------------------------------------------------------------------------------- what user code may do
class Broken:
    """An environment and its session, one part of which does what a test says."""

    def __init__(self, part, act):
        self.part, self.act = part, act

    def do(self, part, other=None):
        return self.act() if part == self.part else other

    @property
    def stop(self):
        return self.do("stop", ("go",))

    @property
    def described(self):
        return self.do("described")

    @property
    def after_end(self):
        return self.do("after_end", other=False)

    def open(self, problem):
        return self.do("open", self)

    def unfinished(self, transcript):
        return self.do("unfinished", other=False)

    async def reply(self, transcript):
        return self.do("reply", Reply(Span(Author.ENVIRONMENT, " on")))

    def close(self):
        self.do("close")


PARTS = ("stop", "described", "after_end", "open", "unfinished", "reply", "close")


def failing(error):
    def act():
        raise error

    return act


def broken_task(part, act):
    def environment(problem):
        whole = Broken(part, act)
        if part == "environment":
            return act()
        return whole if problem.key == "0+1" else None

    return Task("sums", None, scorer, environment=environment, trusted=True)


@pytest.mark.parametrize("part", ["environment", *PARTS])
@pytest.mark.parametrize(
    "error", [KeyError("door"), SystemExit(1), GeneratorExit(), asyncio.CancelledError(), SettingsError("no such door")]
)
def test_an_environment_may_raise_anything_in_any_part(part, error):
    task = broken_task(part, failing(error))
    groups = collect(ScriptedSampler([" go"]), task, PROBLEMS[:1], SamplingParams(max_tokens=4), attempts=2)
    for rollout in groups[0]:
        assert (rollout.score.verdict, rollout.score.reward) == (Verdict.ERROR, None)
        assert type(error).__name__ in rollout.score.why


def test_an_environment_that_fails_at_one_problem_fails_no_other():
    task = broken_task("reply", failing(SystemExit(1)))
    sampler = ScriptedSampler(lambda transcript, _: " go" if "0 +" in transcript.text else " 2")
    groups = collect(sampler, task, PROBLEMS[:2], SamplingParams())
    assert [group[0].score.verdict for group in groups] == [Verdict.ERROR, Verdict.CORRECT]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("environment", object()),
        ("stop", "go"),
        ("stop", ("go", 5)),
        ("stop", ("",)),
        ("stop", None),
        ("described", {"name": "tool"}),
        ("open", None),
        ("reply", "on"),
    ],
)
def test_what_is_no_environment_fails_its_attempts(part, value):
    broken = broken_task(part, lambda: value)
    ((rollout,),) = collect(ScriptedSampler([" go", " 1"]), broken, PROBLEMS[:1], SamplingParams())
    assert (rollout.score.verdict, rollout.score.reward) == (Verdict.ERROR, None)


@pytest.mark.parametrize("span", [None, Span(Author.ENVIRONMENT, 7)])
def test_a_reply_without_text_fails_its_attempt(span):
    broken = broken_task("reply", lambda: Reply(span))
    ((rollout,),) = collect(ScriptedSampler([" go", " 1"]), broken, PROBLEMS[:1], SamplingParams())
    assert rollout.score.verdict is Verdict.ERROR
    assert "spans of text" in rollout.score.why


@pytest.mark.parametrize("part", ["environment", *PARTS])
def test_ctrl_c_inside_an_environment_ends_the_collection(part):
    broken = broken_task(part, failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        collect(ScriptedSampler([" go", " 1"]), broken, PROBLEMS[:1], SamplingParams())


def test_a_wrong_setting_of_ours_ends_the_collection():
    def refuse(transcript, sampling):
        message = "sampling.top_k is not known to this sampler"
        raise SettingsError(message)

    with pytest.raises(SettingsError, match="top_k"):
        collect(ScriptedSampler(refuse), task(Room()), PROBLEMS[:1], SamplingParams())


def test_a_problem_that_could_not_be_drawn_is_a_failed_check_at_each_attempt():
    def source(split, index, level):
        return PROBLEMS[0] if index != 1 else 1 // 0

    drawn = Task("sums", source, scorer, size=3, splits=("train", "validation", "test")).take(
        "test", 0, 3, stand_ins=True
    )
    sampler = ScriptedSampler([" 1"])
    groups = collect(sampler, task(), drawn, SamplingParams(), attempts=2)
    assert [[rollout.score.reward for rollout in group] for group in groups] == [[1, 1], [None, None], [1, 1]]
    assert groups[1][0].score.why.startswith("the source of task 'sums' raised ZeroDivisionError at test/1")
    assert len(sampler.requests) == 4  # the model was asked nothing about it

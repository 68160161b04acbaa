"""What is true of `from_taskset`, shown on the real verifiers.v1; run by tests/tasks/adapters/test_taskset.py."""

import asyncio
import random

import verifiers.v1 as vf

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.adapters import Scale, from_taskset
from poziomka.tasks.adapters.taskset import trace_of
from poziomka.testing import check_task


class NoJudge(Exception):
    """What a planted reward raises."""


class Sum(vf.TaskData):
    answer: str


class Exact(vf.Task[Sum]):
    """A sound task: the last reply is the answer."""

    @vf.reward
    async def exact(self, trace) -> float:
        return float(trace.last_reply == self.data.answer)

    @vf.metric
    async def turns(self, trace) -> float:
        return trace.num_turns

    async def validate(self, runtime):
        return self.data.answer.isdigit()


class Weighted(Exact):
    @vf.reward(weight=0.25)
    async def brief(self, task, trace) -> dict:
        return {"brief": float(len(trace.last_reply) < 5), "asked": float(task.prompt_text in trace.transcript)}


class Formal(Exact):
    """A planted fault: it pays for a word anywhere in the transcript."""

    @vf.reward
    async def exact(self, trace) -> float:
        return float(self.data.answer in trace.transcript)


class Raising(Exact):
    @vf.reward
    async def exact(self, trace) -> float:
        raise NoJudge


class Denying(Exact):
    async def validate(self, runtime):
        return False


class Prepared(Exact):
    async def setup(self, trace, runtime):
        await runtime.run(["true"], {})


class InARuntime(Exact):
    @vf.reward
    async def passes(self, runtime) -> float:
        return 1.0


class InAContainer(Exact):
    NEEDS_CONTAINER = True


def taskset_of(kind, count=None, prompt=lambda number: f"What is {number} + {number + 1}?"):
    class Sums(vf.Taskset[kind]):
        INFINITE = count is None

        def load(self):
            number = 10
            while count is None or number < 10 + count:
                yield kind(Sum(prompt=prompt(number), answer=str(2 * number + 1)), self.config.task)
                number += 1

    return Sums(vf.TasksetConfig())


def answer_of(data):
    return data.answer


def said(problem, reply, stop=Stop.END):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=stop)


def scored(kind, reply, **settings):
    task = from_taskset("sums", taskset_of(kind, 20), gold=answer_of, **settings)
    problem = task.problem("train", 0)
    return judge(task.scorer, problem, said(problem, reply.replace("GOLD", problem.answer)))


def raised(kind, act):
    """What an error of a kind says; "" where nothing was raised."""
    try:
        act()
    except kind as error:
        return str(error)
    return ""


def refused(taskset, message, **settings):
    said = raised(TaskError, lambda: from_taskset("refused", taskset, **settings))
    assert message in said, said


def a_sound_taskset_passes_the_trial():
    check_task(from_taskset("sums", taskset_of(Exact, 60), gold=answer_of), problems=2)


def an_endless_taskset_passes_the_trial():
    task = from_taskset("sums", taskset_of(Exact), gold=answer_of)
    assert task.size is None
    check_task(task, problems=2)


def a_planted_fault_is_caught_by_the_trial():
    task = from_taskset("sums", taskset_of(Formal, 60), gold=answer_of)
    said = raised(AssertionError, lambda: check_task(task, problems=2))
    assert "received" in said, said


def weights_are_those_of_the_trace():
    score = scored(Weighted, "<think> hm </think> GOLD", scale=Scale(high=1.5))
    assert score.parts == {"exact": 1, "brief": 1, "asked": 1, "metric/turns": 1}, score
    assert score.reward == 1
    wrong = scored(Weighted, "<think> hm </think> 4", scale=Scale(high=1.5))
    assert abs(wrong.reward - 0.5 / 1.5) < 1e-9, wrong


def the_reward_is_that_of_the_trace():
    taskset = taskset_of(Weighted, 20)
    task = from_taskset("sums", taskset, gold=answer_of, scale=Scale(high=1.5))
    theirs = {each.data.prompt: each for each in taskset}
    for index in range(task.count("train")):
        problem = task.problem("train", index)
        transcript = said(problem, f"<think> hm </think> {problem.answer}{'0' * (index % 3)}")
        their_task = theirs[problem.prompt[-1].content]
        trace = trace_of(their_task, problem, transcript)
        asyncio.run(their_task.score(trace))
        assert abs(task.scorer(problem, transcript).reward * 1.5 - trace.reward) < 1e-6


def a_reward_outside_the_scale_is_an_error():
    score = scored(Weighted, "GOLD")
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score


def a_thought_is_no_answer():
    assert scored(Exact, "<think> hm </think> GOLD").correct
    assert not scored(Exact, "<think> GOLD").correct
    assert scored(Exact, "<think> GOLD").reward == 0


def a_reward_that_raises_is_an_error():
    score = scored(Raising, "GOLD")
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score


def a_trace_is_what_a_rollout_leaves_behind():
    task = from_taskset("sums", taskset_of(Exact, 20), gold=answer_of)
    their_task = next(iter(taskset_of(Exact, 20)))
    problem = task.problem("train", 0)
    trace = trace_of(their_task, problem, said(problem, "<think> hm </think> 21", Stop.LENGTH))
    assert trace.last_reply == "21"
    assert trace.assistant_messages[0].reasoning_content == "hm"
    assert [node.sampled for node in trace.nodes] == [False, True]
    assert trace.is_truncated
    assert trace.is_completed
    assert vf.WireTrace.model_validate(trace.model_dump(mode="json")).num_turns == 1


def a_system_prompt_comes_first():
    class Told(vf.Taskset[Exact]):
        def load(self):
            messages = [
                vf.UserMessage(content="2 + 2?"),
                vf.AssistantMessage(content="4"),
                vf.UserMessage(content="3?"),
            ]
            yield Exact(Sum(system_prompt="Be brief.", prompt=messages, answer="6"), self.config.task)

    task = from_taskset("told", {"train": Told(vf.TasksetConfig())})
    roles = [message.role for message in task.problem("train", 0).prompt]
    assert roles == ["system", "user", "assistant", "user"], roles


def a_taskset_that_ends_is_dealt_by_prompt():
    task = from_taskset("dealt", taskset_of(Exact, 80, prompt=lambda number: f"question {number % 40}"))
    keys = [{task.problem(split, i).key for i in range(task.count(split))} for split in ("train", "test")]
    assert task.count("train") + task.count("test") == 80
    assert keys[1]
    assert not keys[0] & keys[1]


def an_endless_taskset_is_read_in_any_order():
    task = from_taskset("endless", taskset_of(Exact))
    late = task.problem("train", 40)
    again = from_taskset("endless", taskset_of(Exact))
    early = [again.problem("train", index) for index in range(41)]
    assert early[40] == late


def tasksets_by_split_are_kept():
    task = from_taskset("kept", {"train": taskset_of(Exact, 7), "test": taskset_of(Exact, 3)})
    assert [task.count(split) for split in ("train", "test", "other")] == [7, 3, 0]


def a_task_that_denies_its_right_answer_is_refused():
    refused(taskset_of(Denying, 5), "denies its own right answer")


def what_needs_more_than_a_reply_is_refused_by_name():
    refused(taskset_of(Prepared, 5), "prepares a runtime (setup)")
    refused(taskset_of(InARuntime, 5), "rewards that ask for the runtime (passes)")
    refused(taskset_of(InAContainer, 5), "runs in a container")
    refused(taskset_of(Exact, 5, prompt=lambda _: None), "has no prompt")
    refused(object(), "a taskset of verifiers.v1 (0.4 or later)")


def a_taskset_that_does_not_repeat_itself_is_refused():
    refused(taskset_of(Exact, 5, prompt=lambda _: str(random.random())), "gives other tasks when it is read again")

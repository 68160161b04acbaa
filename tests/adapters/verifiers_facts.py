"""What is true of `from_verifiers`, shown on the real package; run by tests/tasks/adapters/test_verifiers.py."""

import asyncio
import logging
from functools import partial

import verifiers.legacy as vf
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.conversation import converse
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.adapters import Scale, after_thought, from_verifiers, one_box
from poziomka.testing import check_environment, check_task

disable_progress_bar()
logging.disable(logging.ERROR)
ROWS = Dataset.from_list([{"question": f"What is {a} + {a + 1}?", "answer": str(2 * a + 1)} for a in range(10, 50)])


class NoJudge(Exception):
    """What a planted reward raises."""


def exact(parser, completion, answer):
    return float(parser.parse_answer(completion) == answer)


async def brief(completion, **everything):
    return float(len(completion[-1].content) < 100)


def raising(completion):
    raise NoJudge


def loose(completion, answer):
    """A planted fault: the answer anywhere in the words will do."""
    return float(answer in completion[-1].content)


def single(functions=(exact,), weights=None, parser=None, **settings):
    parser = parser or vf.Parser()
    rubric = vf.Rubric(list(functions), weights=weights, parser=parser)
    return vf.SingleTurnEnv(dataset=settings.pop("dataset", ROWS), rubric=rubric, parser=parser, **settings)


def said(problem, reply, stop=Stop.END):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=stop)


def scored(environment, reply, **settings):
    task = from_verifiers("sums", environment, **{"gold": "answer", **settings})
    problem = task.problem("train", 0)
    return judge(task.scorer, problem, said(problem, reply.replace("GOLD", problem.answer)))


def raised(kind, act):
    """What an error of a kind says; "" where nothing was raised."""
    try:
        act()
    except kind as error:
        return str(error)
    return ""


def refused(environment, message, **settings):
    said = raised(TaskError, lambda: from_verifiers("refused", environment, **settings))
    assert message in said, said


def a_sound_environment_passes_the_trial():
    check_task(from_verifiers("sums", single(), read=after_thought, gold="answer"), problems=2)


def a_math_rubric_passes_the_trial_behind_a_strict_reader():
    parser = vf.Parser(extract_fn=partial(vf.extract_boxed_answer, strict=True))
    environment = vf.SingleTurnEnv(dataset=ROWS, rubric=vf.MathRubric(parser=parser), parser=parser)
    task = from_verifiers("math", environment, read=one_box, gold=lambda row: rf"\boxed{{{row['answer']}}}")
    check_task(task, problems=2)


def a_planted_fault_is_caught_by_the_trial():
    task = from_verifiers("sums", single([loose]), gold="answer")
    said = raised(AssertionError, lambda: check_task(task, problems=1))
    assert "received" in said, said


def an_xml_parser_is_given_to_functions_by_name():
    parser = vf.XMLParser(["reasoning", "answer"])
    environment = single([exact, parser.get_format_reward_func()], [0.75, 0.25], parser)
    score = scored(environment, "<reasoning>\nhm\n</reasoning>\n<answer>\nGOLD\n</answer>")
    assert score.parts == {"exact": 1, "format_reward_func": 1, "num_turns": 1}, score
    assert score.reward == 1
    assert scored(environment, "<answer>\nGOLD\n</answer>").reward < 1
    assert scored(environment, "GOLD").parts["exact"] == 0


def a_think_parser_reads_what_follows_the_thought():
    environment = single(parser=vf.ThinkParser())
    assert scored(environment, "<think> hm </think> GOLD").correct
    assert scored(environment, "GOLD").reward == 0


def rewards_are_those_of_the_environment():
    environment = single([exact, brief], [2.0, 0.5], vf.MaybeThinkParser())
    task = from_verifiers("sums", environment, gold="answer", scale=Scale(high=2.5))
    rows = {row["prompt"][-1]["content"]: row for row in environment.get_dataset()}
    for index in range(12):
        problem = task.problem("train", index)
        reply = f"<think> {'hm ' * (20 * (index % 3))}</think> {problem.answer}{'0' * (index % 2)}"
        state = vf.State(input=dict(rows[problem.prompt[-1].content]))
        state["completion"] = [vf.AssistantMessage(content=reply)]
        state["trajectory"] = [{"completion": state["completion"]}]
        asyncio.run(environment.rubric.score_rollout(state))
        score = task.scorer(problem, said(problem, reply))
        assert abs(score.reward * 2.5 - state["reward"]) < 1e-9, (score, state["reward"])


def a_function_that_raises_is_an_error_where_the_rubric_says_0():
    environment = single([exact, raising])
    score = scored(environment, "GOLD")
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score
    assert "raising raised NoJudge" in score.why
    again = scored(single([exact]), "GOLD")
    assert again.correct


def a_math_rubric_works_in_the_process_of_a_scorer():
    parser = vf.Parser(extract_fn=vf.extract_boxed_answer)
    environment = vf.SingleTurnEnv(dataset=ROWS, rubric=vf.MathRubric(parser=parser), parser=parser)
    task = from_verifiers("math", environment, gold="answer")
    problem = task.problem("train", 0)

    async def ask():
        with Scoring(task, workers=1) as scoring:
            return [await scoring.score(problem, said(problem, rf"\boxed{{{x}}}")) for x in (problem.answer, "8/7")]

    right, wrong = asyncio.run(ask())
    assert right.correct, right
    assert (wrong.verdict, wrong.reward) == (Verdict.WRONG, 0), wrong


def a_verification_that_fails_is_an_error_where_the_rubric_says_0():
    parser = vf.Parser(extract_fn=lambda text: text * 1)
    environment = vf.SingleTurnEnv(dataset=ROWS, rubric=vf.MathRubric(parser=parser), parser=parser)
    task = from_verifiers("math", environment, gold="answer")
    problem = task.problem("train", 0)
    task.scorer.played.rubric.rubrics[0].executor.submit = raising  # as a pool whose process died
    score = judge(task.scorer, problem, said(problem, problem.answer))
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score


def evaluation_rows_are_the_test_split():
    environment = single(eval_dataset=Dataset.from_list([{"question": "What is 1 + 1?", "answer": "2"}]))
    task = from_verifiers("sums", environment)
    assert [task.count(split) for split in ("train", "test")] == [40, 1]
    without = from_verifiers("sums", single())
    assert without.count("train") + without.count("test") == 40
    assert without.count("test")


def a_system_prompt_and_shown_examples_come_first():
    shown = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    environment = single(system_prompt="Be brief.", few_shot=shown)
    problem = from_verifiers("sums", environment).problem("train", 0)
    assert [message.role for message in problem.prompt] == ["system", "user", "assistant", "user"]
    assert scored(environment, "GOLD").correct


def what_cannot_be_adapted_is_refused_by_name():
    def ranked(completions):
        return [1.0 for _ in completions]

    refused(single([exact, ranked]), "compares whole groups")
    refused(single([]), "has no reward function")
    refused(vf.ToolEnv(dataset=ROWS, tools=[], rubric=vf.Rubric([exact])), "calls tools")
    refused(vf.EnvGroup([single(), single()]), "is a group of environments")
    refused(Guess(dataset=ROWS, rubric=vf.Rubric([found])), "takes several turns")
    refused(single(), "takes one turn", stop=("x",))
    refused(object(), "an environment of verifiers is adapted")


class Guess(vf.MultiTurnEnv):
    """Says whether a guess was too low or too high, and ends when it is right."""

    async def env_response(self, messages, state, **kwargs):
        guess = messages[-1].content.replace("</guess>", "").rpartition("<guess>")[2].strip()
        number = int(guess) if guess.isascii() and guess.isdigit() and len(guess) < 6 else -1
        if number == int(state["answer"]):
            state["final_env_response"] = [{"role": "user", "content": "right"}]
            return state["final_env_response"]
        return [{"role": "user", "content": "higher" if number < int(state["answer"]) else "lower"}]


def found(completion, answer, state):
    """1 for a right guess at once, less for later ones."""
    return 1 / len(state["trajectory"]) if state.get("final_env_response") else 0.0


class Scripted:
    """Says one turn after another; a sampler as far as `converse` asks."""

    def __init__(self, turns):
        self.turns = list(turns)

    async def extend(self, transcript, sampling, on_token=None):
        return transcript + Span(Author.MODEL, self.turns.pop(0), stop=Stop.PHRASE)


def guesses(turns, kind=Guess):
    environment = kind(dataset=ROWS, rubric=vf.Rubric([found]), max_turns=4)
    task = from_verifiers("guess", environment, stop=("</guess>",))
    problem = task.problem("train", 0)
    right = int(problem.facts["columns"]["answer"])
    turns = [f"<guess>{right + by}</guess>" for by in turns]
    session = task.environment(problem).open(problem)
    transcript = asyncio.run(
        converse(Scripted(turns), session, Transcript.of(problem.prompt), SamplingParams(max_tokens=len(turns)))
    )
    return task, problem, transcript


def an_environment_of_several_turns_is_an_exchange():
    task, problem, transcript = guesses([3, -2, 0])
    heard = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    assert heard == ["\nlower\n", "\nhigher\n", "\nright\n"], heard
    score = judge(task.scorer, problem, transcript)
    assert abs(score.reward - 1 / 3) < 1e-9, score
    assert score.parts["num_turns"] == 3


def an_exchange_that_ends_too_early_earns_nothing():
    task, problem, transcript = guesses([3, -2])
    score = judge(task.scorer, problem, transcript)
    assert score.reward == 0, score


def an_exchange_keeps_the_contract_of_environments():
    environment = Guess(dataset=ROWS, rubric=vf.Rubric([found]))
    task = from_verifiers("guess", environment, stop=("</guess>",))
    problem = task.problem("train", 0)
    said = ["<guess>5</guess>", "<guess>99999</guess>"]
    assert check_environment(task.environment(problem), problem, said) == []


class Moody(Guess):
    """Says something else each time it is asked."""

    asked = 0

    async def env_response(self, messages, state, **kwargs):
        if messages[-1].content.endswith(f"{state['answer']}</guess>"):
            return await super().env_response(messages, state)
        Moody.asked += 1
        return [{"role": "user", "content": f"mood {Moody.asked}"}]


def an_environment_that_does_not_repeat_itself_is_an_error():
    task, problem, transcript = guesses([3, 0], Moody)
    score = judge(task.scorer, problem, transcript)
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score
    assert "does not repeat itself" in score.why

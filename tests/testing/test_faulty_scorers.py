"""Faults in what a scorer reads, and in what it does when reading takes long, planted and caught.

Each is named by the thread in which a peer's users tell of it. What is planted is our own: the idea, not the code.
"""

import re
import signal
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest

from poziomka.core.rollouts.answers import read_number, split_thought


def answer_of(reply):
    return split_thought(reply)[1] or ""


# ------------------------------------------------------------------------------------------------------- what is read
def clipped(reply, gold):
    found = re.findall(r"#### (-?[0-9.,]+)", reply[-300:])
    return bool(found) and found[-1] == gold


def first_number_anywhere(reply, gold):
    found = re.search(r"\d+(?:\.\d+)?", reply)
    return found is not None and found[0] == gold


def last_number(reply, gold):
    return re.findall(r"-?\d+(?:\.\d+)?", answer_of(reply))[-1:] == [gold]


def last_box_or_everything(reply, gold):
    boxes = re.findall(r"\\boxed\{([^}]*)\}", reply)
    return gold in (boxes[-1] if boxes else reply).split()


def contained_either_way(reply, gold):
    answer = answer_of(reply)
    return gold in answer or answer in gold


def contained(reply, gold):
    return gold in answer_of(reply).split()


def part_of_the_answer(reply, gold):
    return gold in answer_of(reply)


def shared_length(reply, gold):
    answer = answer_of(reply)
    return len(gold) / len(answer) if gold in answer else 0


def folded(reply, gold):
    return unicodedata.normalize("NFKC", answer_of(reply)) == gold


# ------------------------------------------------------------------------------------------------ gold that is refused
def one_line_only(reply, gold):
    found = re.search(r"<answer>(.*?)</answer>", reply)  # a dot is no new line
    return found is not None and found[1].strip() == gold


def new_line_at_the_end(reply, gold):
    return re.search(r"</think> <answer>\n(.*?)\n</answer>\n$", reply, re.DOTALL) is not None and gold in reply


def alarmed(reply, gold):
    try:
        signal.signal(signal.SIGALRM, signal.default_int_handler)  # raises in every thread but the main one
        signal.alarm(5)
        return read_number(reply) == gold
    except Exception:  # noqa: BLE001 the fault
        return False
    finally:
        signal.alarm(0)


# ---------------------------------------------------------------------------------------------------- limits of time
def deadline(otherwise):
    """Says `otherwise` where reading takes too long: here by the length of a reply, so that no clock decides."""

    def says(reply, gold):
        return otherwise if len(reply) > 1000 else read_number(reply) == gold

    return says


def joined_for_ever(reply, gold):
    with ThreadPoolExecutor(1) as pool:  # its end waits for what was given up
        work = pool.submit(hanging, reply, gold)
        try:
            return work.result(timeout=0.02 if "9**9" in reply else None)
        except TimeoutError:
            return 0


def hanging(reply, gold):
    while "9**9" in reply:
        time.sleep(0.01)
    return read_number(reply) == gold


def backtracking(reply, gold):
    return re.fullmatch(r"(\w+\s?)*\.?", answer_of(reply)) is not None and read_number(reply) == gold


TAGS = "<answer>\n{}\n</answer>"
FAULTS = {  # what is wrong: (the thread that tells of it, the fault, what the trial says of it)
    "the last 300 characters are read": (
        "verl-project/verl/pull/7274",
        clipped,
        "a long thought that never closes (train/0) must earn nothing",
    ),
    "an alarm that only the main thread can set": (
        "verl-project/verl/issues/3407",
        alarmed,
        "a scorer accepts the gold answer",
    ),
    "a check that took too long is wrong": (
        "areal-project/AReaL/pull/1426",
        deadline(0),
        "a scorer accepts the gold answer",
    ),
    "a check that took too long is right": (
        "hpma-bits/hawarma/issues/20",
        deadline(1),
        "5000 digits, as the answer (train/0) must earn nothing",
    ),
    "a pool that waits for what was given up": (
        "areal-project/AReaL/pull/1426",
        joined_for_ever,
        "a scorer returns quickly: at a power that never ends, as the answer",
    ),
    "a regular expression with exponentially many ways": (
        "huggingface/trl/issues/5415",
        backtracking,
        "a scorer returns quickly",
    ),
    "credit for a part of the answer by its length": (
        "open-thought/reasoning-gym/pull/265",
        shared_length,
        "every candidate listed (train/0) must earn nothing",
    ),
    "the answer is somewhere in what was answered": (
        "PrimeIntellect-ai/verifiers/pull/763",
        part_of_the_answer,
        "a digit more, where",
    ),
    "a list of all classes is right": (
        "Liuziyu77/Visual-RFT/issues/79",
        contained,
        "a choice between two (train/0) must earn nothing",
    ),
    "an empty answer is part of every answer": (
        "Liuziyu77/Visual-RFT/issues/176",
        contained_either_way,
        "an empty answer, as the answer (train/0) must earn nothing",
    ),
    "without a box the whole reply is the answer": (
        "PrimeIntellect-ai/verifiers/pull/1028",
        last_box_or_everything,
        "the answer in the thought only (train/0) must earn nothing",
    ),
    "of several boxes the last one counts": (
        "huggingface/open-r1/pull/55",
        last_box_or_everything,
        "several boxes, the right one last (train/0) must earn nothing",
    ),
    "the first number of the reply, its thought included": (
        "StarsfieldAI/R1-V/issues/38",
        first_number_anywhere,
        "the answer in the thought only (train/0) must earn nothing",
    ),
    "the last number, whatever stands around it": (
        "jsboige/CoursIA/issues/13614",
        last_number,
        "several answers, the right one last (train/0) must earn nothing",
    ),
    "a regular expression that no answer of several lines matches": (
        "unslothai/unsloth/issues/1761",
        one_line_only,
        "a scorer accepts the gold answer",
    ),
    "a format that demands a last new line": (
        "ZHZisZZ/dllm/issues/118",
        new_line_at_the_end,
        "a scorer accepts the gold answer",
    ),
    "what looks alike is folded": (
        "UKGovernmentBEIS/inspect_ai/issues/897",
        folded,
        "full-width digits (train/0) must earn nothing",
    ),
}
FORMS = {"the last 300 characters are read": "#### {}"} | dict.fromkeys(
    (name for name in FAULTS if "line" in name), TAGS
)


@pytest.mark.fault("A15")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_reading_that_peers_had_is_caught(broken, judged_by, fault):
    thread, says, rule = FAULTS[fault]
    seconds = 3.0 if "returns quickly" in rule else 600.0
    assert rule in broken(judged_by(says, FORMS.get(fault, "{}")), seconds), f"https://github.com/{thread}"


@pytest.mark.parametrize("form", ["{}", "#### {}", TAGS])
def test_what_the_faults_are_planted_into_passes(broken, judged_by, form):
    assert broken(judged_by(form=form)) == ""

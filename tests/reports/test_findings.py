"""What the report's sentences say of gains, gates and runs without reinforcement."""

import pytest

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.findings import failures, forgetting, gains, gate, headline, points, thinking_alternative
from poziomka.reports.reading import Curve, Point, Reading
from poziomka.reports.words import MINUS


def said(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def curve(model, mean, **more):
    return Curve(model, (Point(9.0, Estimate(mean, mean - 0.02, mean + 0.02), 64, 9.0),), (), (), **more)


CURVES = [
    curve("warm start", 0.15),
    curve("warm start, made to think", 0.64),
    curve("trained", 0.71, at_once=Point(0.0, Estimate(0.08, 0.06, 0.1), 0, 0.0)),
    curve("trained, made to think", 0.7),
]
GAINS = {"budget": 64, "equal_thinking": {"mean": 0.06, "low": 0.03, "high": 0.09}}
LINES = [{"stage": "reinforce", "step": 1}]


@pytest.mark.fault("D1")
def test_the_headline_compares_at_equal_thinking_first(tmp_path):
    sentence = said(headline(Reading(tmp_path, lines=LINES, curves=CURVES, gains=GAINS)))
    assert sentence.startswith("Made to think, with a budget of 64 thinking tokens, the model solves 70 % (68–72 %)")
    assert "64 % (62–66 %) before it: +6 points (+3 to +9) at equal thinking" in sentence
    assert "free to answer at once, it went from 15 % (13–17 %) to 71 % (69–73 %)" in sentence


def test_a_model_that_does_not_think_has_no_thinking_budget(tmp_path):
    recipe = {"model": {"load": "smollm2", "thinks": False}}
    ends = [Curve(each.model, each.budgets, (), ()) for each in CURVES if not each.forced]
    for lines in (LINES, [{"stage": "evaluate", "step": 0}]):
        sentence = said(headline(Reading(tmp_path, recipe, lines, curves=ends)))
        assert ("71 %" in sentence, "thinking" in sentence) == (True, False)
    thinks = headline(Reading(tmp_path, {"model": {"load": "smollm2", "thinks": True}}, LINES, curves=ends))
    assert "at a budget of 64 thinking tokens" in thinks


PLAIN = {"model": {"load": "smollm2", "thinks": False}}  # a model that does not think


def test_an_accuracy_that_did_not_change_is_not_a_gain(tmp_path):
    ends = [curve("warm start", 0.4), curve("trained", 0.4)]
    sentence = said(headline(Reading(tmp_path, PLAIN, LINES, curves=ends)))
    assert sentence == "Reinforcement learning did not change test accuracy: 40 % (38–42 %)."


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ({"mean": 0.03, "low": 0.01, "high": 0.05}, ", paired by problem +3 points (+1 to +5)."),
        ({"mean": 0.03, "low": -0.01, "high": 0.07}, f"+3 points ({MINUS}1 to +7), which may be chance."),
        (None, " (the intervals overlap: this may be chance)."),
    ],
)
def test_a_change_is_judged_by_its_paired_gain_if_that_was_measured(tmp_path, gain, words):
    ends, gains = [curve("warm start", 0.4), curve("trained", 0.43)], {"budget": 64, "free": gain}
    sentence = said(headline(Reading(tmp_path, PLAIN, LINES, curves=ends, gains=gains)))
    assert sentence.startswith("Reinforcement learning took test accuracy from 40 % (38–42 %) to 43 % (41–45 %)")
    assert sentence.endswith(words)
    elsewhere = headline(Reading(tmp_path, PLAIN, LINES, curves=ends, gains=gains | {"budget": 8}))
    assert "intervals overlap" in elsewhere, "the gain is of another budget"


@pytest.mark.fault("D1")
def test_the_headline_says_where_a_model_always_thinks(tmp_path):
    always = [curve(each.model, each.marks[0].accuracy.mean, always_thinks=not each.forced) for each in CURVES]
    sentence = said(headline(Reading(tmp_path, lines=LINES, curves=always, gains=GAINS)))
    assert "it always thinks, so that making it think changes nothing" in sentence
    assert "free to answer" not in sentence


@pytest.mark.fault("D2")
def test_the_trained_model_is_compared_with_itself_made_to_answer_at_once(tmp_path):
    sentence = said(headline(Reading(tmp_path, lines=LINES, curves=CURVES, gains=GAINS)))
    assert sentence.endswith("the trained model made to answer at once solves 8 % (6–10 %).")


@pytest.mark.fault("D4")
def test_a_run_without_a_step_of_reinforcement_says_so(tmp_path):
    sentence = said(headline(Reading(tmp_path, lines=[{"stage": "evaluate", "step": 0}], curves=CURVES, gains=GAINS)))
    assert sentence.startswith("This run took no step of reinforcement: its model solves 71 %")
    assert "Reinforcement took" not in sentence


@pytest.mark.fault("D4")
@pytest.mark.parametrize(
    ("direct", "thinking", "margin", "words"),
    [
        (0.5, 0.5, -1.0, "made to answer at once: as many."),
        (0.5, 0.4, 0.0, "made to answer at once: 10 points fewer; the gate was passed."),
        (0.1, 0.6, 0.3, "50 points more, where at least 30 more were demanded; the gate was passed."),
    ],
)
def test_the_gate_demands_what_it_demanded(tmp_path, direct, thinking, margin, words):
    measured = {"direct": {"mean": direct}, "thinking": {"mean": thinking}, "margin": margin, "passed": True}
    sentence = said(gate(Reading(tmp_path, gate=measured)))
    assert sentence.endswith(words)
    assert "-100" not in sentence


@pytest.mark.fault("A11")
def test_failed_checks_stand_beside_the_figure_with_bounds():
    open_ = {"checks": 3, "problems": 96, "as_wrong": 0.61, "as_right": 0.64}
    assert said(failures(Point(1.0, Estimate(0.62, 0.6, 0.65), failures=open_))) == "3; 61–64 %; 96 problems judged"
    assert failures(Point(1.0, Estimate(0.62, 0.6, 0.65))) == ""


def test_gains_have_signs():
    assert points(Estimate(-0.031, -0.06, 0.001)) == "\N{MINUS SIGN}3 points (\N{MINUS SIGN}6 to 0)"


@pytest.mark.fault("C3")
def test_the_report_says_what_was_forgotten(tmp_path):
    values = {"start": -0.52, "warm start": -0.61, "trained": -2.6}
    sentence = said(forgetting(Reading(tmp_path, forgetting={"questions": 12, "tokens": 99, "logprobs": values})))
    assert "−0.52 at the start, −0.61 after the warm start and −2.60" in sentence
    assert sentence.endswith("lost general knowledge (2.08): lower learning rates or fewer updates lose less.")
    kept = {"questions": 12, "logprobs": values | {"trained": -0.5}}
    assert said(forgetting(Reading(tmp_path, forgetting=kept))).endswith("these questions show no loss of 0.1 or more.")


@pytest.mark.fault("C3")
@pytest.mark.parametrize("damaged", [{}, {"logprobs": [1]}, {"questions": 12, "logprobs": {"start": -1.0}}])
def test_what_was_not_measured_is_not_said(tmp_path, damaged):
    assert forgetting(Reading(tmp_path, forgetting=damaged)) == ""


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ({}, "warm start"),
        ({"stage": [{"kind": "sft"}, {"kind": "rl"}]}, "warm start"),
        ({"stage": [{"kind": "rl"}]}, "base model"),
        ({"schema_version": 1, "warm_start": {}}, "warm start"),
    ],
)
def test_a_run_without_a_supervised_stage_has_no_warm_start(tmp_path, recipe, name):
    outcome = {"direct": {"mean": 0.1}, "thinking": {"mean": 0.2}}
    knowledge = {"questions": 20, "logprobs": {"start": -0.5, "warm start": -0.6, "trained": -0.6}}
    reading = Reading(tmp_path, recipe, LINES, curves=CURVES, gains=GAINS, gate=outcome, forgetting=knowledge)
    sentences = [gate(reading), thinking_alternative(reading), *(sentence for sentence, _ in gains(reading))]
    assert all(name in sentence for sentence in sentences)
    other = {"warm start", "base model"} - {name}
    assert not any(word in sentence for word in other for sentence in (*sentences, forgetting(reading)))

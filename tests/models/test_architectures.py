"""Every architecture gives the same numbers however a text is read, and says what it costs."""

from dataclasses import replace

import pytest
import torch

from poziomka.core.errors import ModelError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Cost, Rollout
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.models.base import Packing
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.config import SlidingWindow
from poziomka.models.flops import sampling_flops, training_flops
from poziomka.models.transformer import Transformer, TransformerSettings
from poziomka.testing import check_architecture


def logprobs(model, tokens, *memory, **how):
    return torch.log_softmax(model.logits(model(tokens, *memory, **how)), -1)


def texts(*shape, seed=0):
    return torch.randint(5, 15, shape, generator=torch.Generator().manual_seed(seed))


def test_it_keeps_an_architectures_contract(model):
    check_architecture(model)


@torch.no_grad()
def test_decoding_after_forks_keeps_and_joins_is_the_full_forward(model):
    """Rows of 3, 7 and 5 tokens, forked, some dropped, others joined, then read on, one by one."""
    prefixes = [texts(3, seed=1), texts(7, seed=2), texts(5, seed=3)]
    read = torch.nn.utils.rnn.pad_sequence(prefixes, batch_first=True)
    memory = model.memory(3, 2)
    model(read, memory, counts=torch.tensor([3, 7, 5]))
    memory = memory.fork(torch.tensor([1, 0, 1, 2, 2]))
    memory.keep(torch.tensor([0, 4, 2]))
    other = model.memory(1, 1)
    late = texts(9, seed=4)
    model(late.unsqueeze(0), other)
    memory.join(other)
    rows = [prefixes[1], prefixes[2], prefixes[1], late]
    endings = texts(4, 40, seed=5)
    for step in range(40):
        found = logprobs(model, endings[:, step : step + 1], memory)[:, 0]
        for row, prefix in enumerate(rows):
            whole = torch.cat([prefix, endings[row, : step + 1]]).unsqueeze(0)
            assert (found[row] - logprobs(model, whole)[0, -1]).abs().max() <= 1e-4
    assert memory.lengths.tolist() == [len(prefix) + 40 for prefix in rows]


@torch.no_grad()
def test_texts_packed_in_a_row_read_as_if_alone(model):
    packed = texts(1, 30)
    sequence = torch.tensor([[0] * 11 + [1] * 1 + [2] * 13 + [-1] * 5])
    position = torch.cat([torch.arange(11), torch.arange(1), torch.arange(13), torch.zeros(5, dtype=torch.long)])
    found = logprobs(model, packed, packing=Packing(sequence, position.unsqueeze(0)))
    for start, end in ((0, 11), (11, 12), (12, 25)):
        assert (found[:, start:end] - logprobs(model, packed[:, start:end])).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3])
def test_rows_that_read_nothing_stay_as_they_were(model, length):
    memory = model.memory(2, 8)
    model(texts(2, 4), memory)
    model(texts(2, length, seed=1), memory, counts=torch.tensor([0, length]))
    assert memory.lengths.tolist() == [4, 4 + length]
    again = model.memory(2, 8)
    model(texts(2, 4), again)
    token = texts(1, 1, seed=2)
    alone = logprobs(model, token, again.fork(torch.tensor([0])))
    beside = logprobs(model, torch.cat([token, token]), memory)[:1]
    assert (alone - beside).abs().max() <= 1e-5


@torch.no_grad()
def test_long_texts_are_read_beyond_the_first_table_of_angles(model):
    text = texts(1, 700)
    memory = model.memory(1, 16)
    model(text[:, :-1], memory)
    assert (logprobs(model, text[:, -1:], memory)[0, 0] - logprobs(model, text)[0, -1]).abs().max() <= 1e-4


def test_what_was_read_long_in_inference_can_be_learned_from(model):
    text = texts(1, 600)
    with torch.inference_mode():
        model(text)
    torch.autograd.backward(model.logits(model(text)).sum())
    assert bool(model.embedding.weight.grad.ne(0).any())


def test_the_same_seed_builds_the_same_weights(build):
    one, two, other = build(seed=3).state_dict(), build(seed=3).state_dict(), build(seed=4).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    build_model("transformer", TransformerSettings(width=16, layers=1, heads=2), 15, 7)
    assert torch.equal(torch.rand(3), wanted)


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match="unknown architecture 'transfomer'; did you mean 'transformer'"):
        build_model("transfomer", TransformerSettings(), 15, 0)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("transformer", {"width": 30, "heads": 4}),
        ("transformer", {"width": 32, "heads": 4, "key_heads": 3}),
        ("transformer", {"width": 36, "heads": 4}),
        ("recurrent", {"width": 30, "heads": 4}),
    ],
)
def test_a_shape_that_does_not_divide_is_refused(architecture, settings):
    with pytest.raises(ModelError, match="width"):
        build_model(architecture, TransformerSettings(**settings), 15, 0)


def test_parameters_are_counted_once(build):
    assert build("transformer").parameters_count == 15 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 88) + 5 * 32


# ------------------------------------------------------------------------------------------------------- counting
def test_a_transformers_flops_are_two_a_weight_and_four_a_width_and_token_looked_at(build):
    products = 15 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 88)
    assert build("transformer").flops(9) == 2 * products + 4 * 2 * 32 * 10


def test_untied_embeddings_cost_no_more_than_tied_ones(build):
    qwen = build("qwen")
    products = sum(p.numel() for p in qwen.blocks.parameters() if p.dim() > 1) + 15 * 32
    assert qwen.flops(0) == 2 * products + 4 * 2 * 32


def test_a_recurrent_token_costs_the_same_wherever_it_stands(build):
    assert build("recurrent").flops(0) == build("recurrent").flops(10_000)


def test_reading_a_text_costs_the_sum_of_its_tokens(model):
    assert sum(model.work(7)) == pytest.approx(sum(model.flops(place) for place in range(7)))
    assert sum(model.work(0)) == 0


def test_a_windowed_token_looks_at_its_window_only():
    window = SlidingWindow(tokens=4, layers=(0, 1))
    near, plain = (Transformer(TransformerSettings(width=32, layers=2, heads=4, window=w), 15) for w in (window, None))
    assert near.flops(3) == plain.flops(3)
    assert near.flops(9) == plain.flops(3)
    assert sum(near.work(10)) == pytest.approx(sum(near.flops(place) for place in range(10)))


def test_a_transformers_head_is_its_vocabulary_and_the_rest_is_its_body(build):
    work = build("qwen").work(1)
    assert work.head == 2 * 15 * 32
    assert work.looks == 4 * 2 * 32


def test_training_costs_three_readings_of_each_stretch_and_logits_where_something_is_learned(model):
    places = body(model, range(3)) + body(model, range(3, 9)) + body(model, range(3, 5))
    found = training_flops(model, [(0, 3), (3, 9), (3, 5)], learned=4)
    assert found == pytest.approx(3 * (places + 4 * model.work(1).head))


def group_of(prompt, *lengths):
    problem, start = Problem.ask("t", "k", "q"), Transcript((Span(Author.USER, "q", compact(range(prompt))),))
    replies = [start + Span(Author.MODEL, "", compact([4] * length), policy="v1") for length in lengths]
    return [Rollout(f"r{n}", problem, (Branch(reply, Score.wrong("")),)) for n, reply in enumerate(replies)]


def body(model, places):
    return sum(model.flops(place) - model.work(1).head for place in places)


def test_a_groups_prompt_is_paid_for_once_and_logits_where_a_token_is_written(build):
    """The prompt's last token is read by each attempt; the last that is written by none."""
    model = build()
    own = body(model, range(2)) + body(model, range(2, 4)) + body(model, range(2, 7))
    assert sampling_flops(model, [group_of(3, 2, 5)]) == pytest.approx(own + 7 * model.work(1).head)


def test_what_an_environment_says_is_read_without_logits(build):
    model, problem = build(), Problem.ask("t", "k", "q")
    turns = Transcript(
        (
            Span(Author.USER, "q", compact([1, 2])),
            Span(Author.MODEL, "", compact([3]), policy="v1"),
            Span(Author.ENVIRONMENT, "", compact([4, 4, 4])),
            Span(Author.MODEL, "", compact([5, 6]), policy="v1"),
        )
    )
    group = [Rollout("r", problem, (Branch(turns, Score.wrong("")),))]
    assert sampling_flops(model, [group]) == pytest.approx(body(model, range(7)) + 3 * model.work(1).head)


def test_a_fork_pays_for_its_own_tokens_and_judges_for_what_they_read(build):
    """The first branch reads 4 of 5 tokens; the second shares 3 of them, and reads the third again to leave it."""
    model, (group,) = build(), [group_of(3, 2)]
    (trunk,) = group[0].branches
    prompt = Transcript((Span(Author.USER, "q", compact(range(3))),))
    fork = replace(trunk, transcript=prompt + Span(Author.MODEL, "", compact([4, 5, 6]), policy="v1"), parent=0)
    forks = [replace(group[0], branches=(trunk, replace(fork, fork_at=shared))) for shared in (3, 4)]
    head, token = model.work(1).head, model.work(1).places + model.work(1).head
    for rollout, places, written in zip(forks, (range(2, 5), range(3, 5)), (5, 4), strict=True):
        own = body(model, range(4)) + body(model, places) + written * head
        assert sampling_flops(model, [[rollout]]) == pytest.approx(own)
        spent = Cost(sampled=written + 2, judged=7.5)  # two tokens were put aside
        assert sampling_flops(model, [[replace(rollout, spent=spent)]]) == pytest.approx(own + 9.5 * token)


def test_a_fork_pays_for_what_it_reads_before_it_writes_and_a_whole_of_parts_for_nothing(build):
    """A conversation whose second part has a prompt of 4 tokens, of which the first part read one too."""
    model, problem = build(), Problem.ask("t", "k", "q")
    first, second = (
        Transcript((Span(Author.USER, "", compact(asked)), Span(Author.MODEL, "", compact([7, 7]), policy="v1")))
        for asked in ([1, 2, 3], [1, 5, 5, 5])
    )
    parts = (Branch(first, judged_as=2), Branch(second, parent=0, fork_at=1, judged_as=2))
    rollout = Rollout("r", problem, (*parts, Branch(first + second.spans[1:], trainable=False)), answer=2)
    own = body(model, range(4)) + body(model, range(5)) + 4 * model.work(1).head
    assert sampling_flops(model, [[rollout]]) == pytest.approx(own)


def test_who_wrote_nothing_cost_nothing(build):
    problem, prompt = Problem.ask("t", "k", "q"), Transcript((Span(Author.USER, "q", compact([1, 2])),))
    assert sampling_flops(build(), [[Rollout("r", problem, (Branch(prompt, Score.wrong("")),))]]) == 0

"""The journal: rollouts come back equal, and others read it without us."""

import json
from array import array
from dataclasses import replace
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poziomka.core.errors import RunError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript, Tried, compact
from poziomka.runs import read_journal, write_journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "step-000003.parquet"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.none() | WORDS
LOGPROBS = st.floats(-40, 0, width=32)


@st.composite
def spans(draw):
    tokens = draw(st.none() | st.lists(st.integers(0, 2**31 - 1), max_size=4))
    known = tokens is not None and draw(st.booleans())
    logprobs = array("f", draw(st.lists(LOGPROBS, min_size=len(tokens), max_size=len(tokens)))) if known else None
    author, stop = draw(st.sampled_from(Author)), draw(st.none() | st.sampled_from(Stop))
    ids = None if tokens is None else compact(tokens)
    turn = draw(st.none() | st.floats(-1, 1)), draw(NAMES)
    return Span(author, draw(WORDS), ids, logprobs, stop, draw(NAMES), draw(st.floats(0, 9)), *turn)


SPANS = st.lists(spans(), max_size=3).map(tuple)
TRIED = st.lists(st.builds(Tried, st.integers(0, 99), SPANS), max_size=2).map(tuple)
TRANSCRIPTS = st.builds(Transcript, SPANS, NAMES, TRIED)
JUDGED = st.sampled_from([Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSED, Verdict.TRUNCATED])
PARTS = st.dictionaries(WORDS, st.floats(allow_nan=False, allow_infinity=False), max_size=2)
SCORES = st.builds(Score, st.none() | st.floats(0, 1), JUDGED, NAMES, WORDS, PARTS)
INDEX = st.integers(0, 9)
FORKED = (st.none() | INDEX, INDEX, WORDS, st.booleans(), st.none() | st.floats(-1, 1))
BRANCHES = st.builds(Branch, TRANSCRIPTS, st.none() | SCORES, *FORKED)
FACTS = st.dictionaries(WORDS, st.none() | st.integers() | WORDS | st.lists(st.floats(allow_nan=False)), max_size=2)
PROMPTS = st.lists(st.builds(Message, st.sampled_from(["user", "system"]), WORDS), max_size=2).map(tuple)
PROBLEMS = st.builds(Problem, PROMPTS, WORDS, task=WORDS, key=WORDS, facts=FACTS, level=st.integers(-5, 5))
ROLLOUTS = st.builds(Rollout, WORDS, PROBLEMS, st.lists(BRANCHES, min_size=1, max_size=3).map(tuple), NAMES, INDEX)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(ROLLOUTS, min_size=1, max_size=2), max_size=2))
def test_whatever_is_kept_comes_back_equal(tmp_path_factory, groups):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    numbered = [[replace(one, id=f"{g}/{i}") for i, one in enumerate(group)] for g, group in enumerate(groups)]
    write_journal(path, numbered, step=3)
    journal = read_journal(path)
    assert journal.groups == numbered
    assert (journal.step, journal.advantages) == (3, {})


def test_advantages_come_back_by_rollout(path, groups):
    advantages = {"r0": [0.1, 0.1], "r2": (1 / 3, -2.0)}
    write_journal(path, groups, advantages)
    journal = read_journal(path)
    assert journal.advantages == {"r0": [0.1, 0.1], "r2": [1 / 3, -2.0]}
    assert [one.id for one in journal.rollouts] == ["r0", "r1", "r2"]


def test_an_advantage_a_model_token_is_demanded(path, groups):
    with pytest.raises(RunError, match="'r0' needs one advantage a model token: 2 tokens, 3 advantages"):
        write_journal(path, groups, {"r0": [1.0, 1.0, 1.0]})


def test_advantages_of_a_stranger_are_refused(path, groups):
    with pytest.raises(RunError, match="'r9', which is not among the groups"):
        write_journal(path, groups, {"r9": []})


def test_two_rollouts_of_one_id_are_refused(path, rollout):
    with pytest.raises(RunError, match="2 rollouts under 1 ids"):
        write_journal(path, [[rollout("a")], [rollout("a")]])


def test_facts_that_are_no_json_are_refused(path, rollout):
    one = rollout()
    with pytest.raises(RunError, match="the facts of problem sums/1\\+2 must be plain JSON"):
        write_journal(path, [[replace(one, problem=replace(one.problem, facts={"a": {1}}))]])


def test_a_text_that_is_no_unicode_is_kept_readable(path, rollout):
    one = rollout()
    words = Span(Author.ENVIRONMENT, "a\udc80b")
    write_journal(path, [[replace(one, branches=(Branch(one.transcript + words),))]])
    assert read_journal(path).rollouts[0].transcript.spans[-1].text == "a?b"


def test_pandas_reads_a_rollout_a_row(path, groups):
    write_journal(path, groups, {"r0": [0.5, 0.5]}, step=3)
    frame = pd.read_parquet(path)
    assert list(frame["group"]) == [0, 0, 1]
    first = frame.iloc[0]
    assert (first["schema_version"], first["step"], first["task"], first["verdict"]) == (1, 3, "sums", "correct")
    assert (first["answer"], first["parsed_answer"], first["reward"], first["cost"]) == ("3", "3", 1.0, 2)
    assert [span["author"] for span in first["spans"]] == ["user", "forced", "model"]
    assert list(first["spans"][2]["tokens"]) == [5, 6]
    assert json.loads(first["facts"]) == {"terms": [1, 2], "hint": None}


def test_duckdb_queries_a_folder_of_journals(tmp_path, groups):
    for step in (1, 2):
        write_journal(tmp_path / f"step-{step:06d}.parquet", groups, step=step)
    query = (
        "select step, avg(reward), sum(cost), sum(len(spans[3].tokens)) from '{}/*.parquet' group by step order by 1"
    )
    rows = duckdb.sql(query.format(tmp_path)).fetchall()
    assert rows == [(1, 1.0, 6, 6), (2, 1.0, 6, 6)]


def test_only_the_seconds_differ_between_two_clocks(tmp_path, rollout):
    for name, seconds in (("a", 0.1), ("b", 0.2)):
        write_journal(tmp_path / name, [[rollout(seconds=seconds)]])
    one, other = (pq.read_table(tmp_path / name) for name in "ab")
    assert [name for name in one.column_names if not one[name].equals(other[name])] == ["seconds"]


def test_the_same_rollouts_are_the_same_bytes(tmp_path, groups):
    for name in "ab":
        write_journal(tmp_path / name, groups)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_group_is_a_journal_too(path):
    write_journal(path, [])
    assert read_journal(path).groups == []


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_journal_is_named(path, groups, share):
    write_journal(path, groups)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RunError, match=r"step-000003.parquet is truncated or damaged"):
        read_journal(path)


@pytest.mark.parametrize("place", ["text", "author", "content", "role", "answer", "task", "key", "id"])
def test_a_journal_without_a_text_is_named(path, groups, place):
    def without(value, name=""):
        if isinstance(value, dict):
            return {key: without(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [without(each) for each in value]
        return None if name == place else value

    write_journal(path, groups)
    table = pq.read_table(path)
    schema = pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata)
    pq.write_table(pa.Table.from_pylist([without(row) for row in table.to_pylist()], schema), path)
    with pytest.raises(RunError, match=r"step-000003.parquet is truncated or damaged"):
        read_journal(path)


def test_a_flipped_bit_is_noticed_in_all_but_a_few_bytes(path, groups):
    write_journal(path, groups)
    sound, same, missed = path.read_bytes(), read_journal(path), 0
    places = range(4, len(sound), 97)
    for at in places:
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 8]) + sound[at + 1 :])
        try:
            missed += read_journal(path) != same
        except RunError:
            continue
    # Parquet has checksums for its pages and none for the headers between them.
    assert missed <= len(places) / 100


def test_a_journal_that_is_not_there_is_said(path):
    with pytest.raises(RunError, match="there is no journal"):
        read_journal(path)


def test_a_table_of_somebody_else_is_refused(path):
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RunError, match="carries no schema_version"):
        read_journal(path)


@pytest.mark.parametrize(("version", "words"), [("2", "install a newer Poziomka"), ("0", "older than the 1")])
def test_another_schema_version_is_refused_in_words(path, groups, version, words):
    write_journal(path, groups)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"schema_version": version, "step": "0"}), path)
    with pytest.raises(RunError, match=words):
        read_journal(path)


def test_branches_share_their_prefix_when_read_back(path, rollout):
    one = rollout()
    forks = tuple(Branch(one.transcript.cut(n), None, 0, n, "fork", trainable=False) for n in (1, 2, 3))
    write_journal(path, [[replace(one, branches=(*one.branches, *forks))]])
    back = read_journal(path).rollouts[0]
    assert back.branches[1:] == forks
    assert all(a.transcript.tokens == b.transcript.tokens[:-1] for a, b in pairwise(back.branches[1:]))


def test_every_branch_keeps_its_advantages(path, rollout):
    one = rollout()
    two = replace(one, branches=(*one.branches, Branch(one.transcript, Score.wrong("4"))), answer=1)
    count = sum(one.transcript.by(Author.MODEL))
    write_journal(path, [[two]], {two.id: [0.5] * count, f"{two.id}#1": [-0.5] * count})
    back = read_journal(path)
    assert back.advantages == {two.id: [0.5] * count, f"{two.id}#1": [-0.5] * count}
    assert back.rollouts[0].score.answer == "4"


def test_a_journal_without_the_newer_columns_is_read(path, rollout):
    one = rollout()
    write_journal(path, [[one]])
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["chosen", "strategy_reward", "correction"]), path)
    assert read_journal(path).rollouts == [one]


def test_numbers_of_numpy_are_kept(path):
    problem = Problem.ask("sums", "1+1", "?", "2", low=np.int64(1), drawn=np.array([0.5, 1.5]), name="a")
    score = Score(np.float32(0.5), Verdict.WRONG, "3", "", {"length": np.float32(0.25), "words": np.int64(3)})
    write_journal(path, [[Rollout("r0", problem, (Branch(Transcript(), score),))]])
    (kept,) = read_journal(path).rollouts
    assert kept.score == score
    assert kept.score.parts == {"length": 0.25, "words": 3}
    assert kept.problem.facts == {"low": 1, "drawn": [0.5, 1.5], "name": "a"}


def test_parts_of_an_older_journal_that_are_no_numbers_are_passed_over(path, groups):
    write_journal(path, groups)
    table = pq.read_table(path)
    rows = [row | {"parts": json.dumps({"length": 0.5, "why": "long"})} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    assert {tuple(rollout.score.parts.items()) for rollout in read_journal(path).rollouts} == {(("length", 0.5),)}

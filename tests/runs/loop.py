"""A loop as learning has one, small and exact, for test_kill.py to kill: `python loop.py FOLDER STEPS`.

Its weights are a chain of hashes, so that a step lost or done twice shows in every later one.
"""

import sys
import time
from hashlib import sha256
from pathlib import Path

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.runs import Run

SIZE = 1 << 19  # bytes of weights: most of a step is spent in writing them


def groups_of(step, digest):
    problem = Problem.ask("hash", f"{step}", "?")
    reply = Span(Author.MODEL, digest.hex(), compact(digest), seconds=time.perf_counter())
    branch = Branch(Transcript.of(problem.prompt) + reply, Score.right(digest.hex()))
    return [[Rollout(f"train/{step}/0", problem, (branch,))]]


def main(folder, steps):
    with Run.open(folder, {"steps": steps}) as run:
        latest = run.latest()
        digest = (latest.folder / "weights").read_bytes()[:32] if latest else bytes(32)
        total = latest.state["total"] if latest else 0
        print(run.resumed, flush=True)  # noqa: T201 the test reads it, and counts the steps
        for step in range(run.resumed + 1, steps + 1):
            digest = sha256(digest + bytes([step])).digest()
            total += digest[0]
            run.log(step, "reinforce", {"reward/mean": digest[0] / 255})
            run.keep(f"step-{step:06d}", groups_of(step, digest), step=step)
            if step % 2 == 0:
                weights = digest * (SIZE // len(digest))
                run.save(step, lambda at, data=weights: (at / "weights").write_bytes(data), {"total": total})
            print(step, flush=True)  # noqa: T201 the test that kills it reads this


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

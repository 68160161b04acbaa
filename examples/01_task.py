"""Trains a small model from scratch, in a minute, on a task of one's own: the time some hours later."""

import poziomka as pz


def clock(rng, level):
    hour = rng.randrange(24)
    facts = {"hour": hour, "wait": level}
    return pz.Problem(f"{hour} wait{level}", answer=str((hour + level) % 24), facts=facts)


def demonstration(problem):  # a thought and the answer
    hour, wait = problem.facts["hour"], problem.facts["wait"]
    return " ".join(f"{(hour + n) % 24} wait{wait - n}" for n in range(1, wait + 1)), problem.answer


symbols = (*map(str, range(24)), *(f"wait{n}" for n in range(13)))
scorer = pz.exact(pz.last_integer)
task = pz.Task("clock", clock, scorer, levels=(1, 12), demonstration=demonstration, symbols=symbols)
print(pz.train(task, None, "runs/clock", steps=20, sft={"steps": 300}))

"""The estimate of a step's memory is near what a process really takes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

STEP = """
import sys
from array import array
import torch
torch.set_num_threads(1)
from poziomka.learning.samples.batch import Batch
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.memory_estimate import step_bytes
from poziomka.learning.samples.weighting import Example
from poziomka.models.transformer import Transformer, TransformerSettings

def peak():  # of this program; what getrusage says begins with that of the process that started it
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

checkpointing, dtype = sys.argv[1] == "True", getattr(torch, sys.argv[2])

def learner(width, layers):
    shape = TransformerSettings(width=width, layers=layers, heads=8, key_heads=4, qk_norm=False)
    settings = LearnerSettings(gradient_checkpointing=checkpointing, microbatch_tokens=2048)
    return Learner(Transformer(shape, 9000).to(dtype), settings)

def step(learner, rows):
    tokens = torch.randint(0, 9000, (rows, 128)).tolist()
    texts = [Example(array("i", text), array("f", [0.0] * 64 + [0.01] * 64), array("f", [0.0] * 128),
             array("f", [-9.0] * 128)) for text in tokens]
    learner.step(Batch.pack(texts), 1e-4)

step(learner(64, 1), 1)  # libraries load what they need
before = peak()
large = learner(320, 8)
wanted = step_bytes(large.model, large.settings, 10 * 128, 128)
step(large, 1)  # the optimizer's moments are there from the first step on
step(large, 10)
grown = peak() - before
print(sum(wanted.values()) / grown, {name: round(value / 1e6) for name, value in wanted.items()}, grown / 1e6)
"""


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_is_within_a_quarter_of_what_a_step_takes(checkpointing, dtype):
    command = [sys.executable, "-c", STEP, str(checkpointing), dtype]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 0.75 < float(out.split()[0]) < 1.25, out

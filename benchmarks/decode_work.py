"""Options, prompts and peak memory that decode.py, decode_transformers.py and decode_vllm.py share.

Runs in each of their environments; torch is imported in the function that needs it.
"""

import argparse
import resource
from statistics import median


def parser_of(description):
    """Returns a parser of the options that all sides take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 8, 1], help="numbers of streams")
    parser.add_argument("--prefix", type=int, default=0, help="random tokens that all prompts of a batch begin with")
    parser.add_argument("--prompt", type=int, default=40, help="random tokens of each prompt after the prefix")
    parser.add_argument("--tokens", type=int, default=128, help="tokens that each stream writes")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs; one more before them warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--dtype", choices=["bfloat16", "float32"], default=dtype_here(), help="default: the faster here"
    )
    return parser


def dtype_here():
    """Returns the faster type on this processor: bfloat16 where it has instructions that multiply it, else float32."""
    import torch

    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 no public name
    return "bfloat16" if has else "float32"


def prompts_of(options, streams, number):
    """Returns the prompts of run `number`, [streams, prefix + prompt]; no other run has the same prefix or prompt."""
    import torch

    generator = torch.Generator().manual_seed(number)
    prefix = torch.randint(100, 49_000, (1, options.prefix), generator=generator).expand(streams, -1)
    own = torch.randint(100, 49_000, (streams, options.prompt), generator=generator)
    return torch.cat([prefix, own], 1)


def measure(options, streams, write):
    """Returns the figures of one number of streams, medians and every run.

    Args:
        options: what parser_of's parser read.
        streams: how many prompts are written from together.
        write: takes (prompts, tokens), writes that many tokens after each prompt; returns the seconds of all, and those
            after the first token of every row or None.
    """
    whole, decoding, reading = [], [], []
    for repeat in range(options.repeats + 1):  # the first warms up
        everything, after = write(prompts_of(options, streams, 2 * repeat), options.tokens)
        whole.append(streams * options.tokens / everything)
        if after is not None:
            decoding.append(streams * (options.tokens - 1) / after)
        only, _ = write(prompts_of(options, streams, 2 * repeat + 1), 1)
        reading.append(streams * (options.prefix + options.prompt) / only)
    figures = {"tokens_per_second": median(whole[1:]), "reading": median(reading[1:]), "runs": whole[1:]}
    return figures | ({"decoding": median(decoding[1:])} if decoding else {})


def peak_gib():
    """Returns the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

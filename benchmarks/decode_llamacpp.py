"""Tokens a second of llama.cpp on the Q4_1 file, several streams in one batch, sampling included, as JSON.

Runs in the peers' environment. llama-cpp-python's own class writes one stream; this uses the library's batch interface
below it, as llama.cpp's own server does: each step decodes one token of every stream, and llama.cpp's own sampler
draws the next (temperature 1, whole vocabulary). Every stream reads `--prompt` random tokens of its own first and
writes `--tokens` more; none may end early.
"""

import argparse
import json
import time
from statistics import median

import peer_model


class Streams:
    """Several sequences in one llama.cpp context."""

    def __init__(self, library, path, count, length, threads):
        """Loads the file and makes room for `count` sequences of `length` tokens."""
        self.library, self.count = library, count
        library.llama_backend_init()
        self.model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        how = library.llama_context_default_params()
        how.n_ctx, how.n_seq_max = count * length, count
        self.room = how.n_batch = how.n_ubatch = max(512, count)
        how.n_threads = how.n_threads_batch = threads
        self.context = library.llama_init_from_model(self.model, how)
        self.batch = library.llama_batch_init(how.n_batch, 0, 1)
        self.samplers = []

    def begin(self, seed):
        """Forgets everything, and names the randomness of each stream."""
        library = self.library
        library.llama_memory_clear(library.llama_get_memory(self.context), True)
        for sampler in self.samplers:
            library.llama_sampler_free(sampler)
        self.samplers = [library.llama_sampler_init_dist(1000 * seed + stream) for stream in range(self.count)]

    def decode(self, rows):
        """Reads (token, place, stream, wanted) rows."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for number, (token, place, stream, wanted) in enumerate(rows):
            batch.token[number], batch.pos[number] = token, place
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, stream
            batch.logits[number] = wanted
        if code := self.library.llama_decode(self.context, batch):
            message = f"llama_decode failed with {code}"
            raise SystemExit(message)

    def read(self, prompts):
        """Reads each stream's prompt; returns each stream's first token."""
        tokens = []
        together = max(1, self.room // len(prompts[0]))  # as many prompts in one batch as it has room for
        for start in range(0, len(prompts), together):
            part = list(enumerate(prompts))[start : start + together]
            last = len(prompts[0]) - 1
            self.decode(
                [(ids[place], place, stream, place == last) for stream, ids in part for place in range(last + 1)]
            )
            tokens += [self.draw(stream, (number + 1) * (last + 1) - 1) for number, (stream, _) in enumerate(part)]
        return tokens

    def draw(self, stream, row):
        """Draws a stream's next token from the logits of a row of the last batch."""
        return self.library.llama_sampler_sample(self.samplers[stream], self.context, row)

    def close(self):
        """Gives the memory back."""
        self.library.llama_batch_free(self.batch)
        self.library.llama_free(self.context)
        self.library.llama_model_free(self.model)


def write(streams, prompts, count, seed):
    """Returns the seconds from the first prompt to the last token, and from the first tokens."""
    streams.begin(seed)
    began = time.perf_counter()
    tokens = streams.read(prompts)
    first = time.perf_counter()
    place = len(prompts[0])
    for _ in range(count - 1):
        streams.decode([(token, place, stream, True) for stream, token in enumerate(tokens)])
        tokens = [streams.draw(stream, stream) for stream in range(len(tokens))]
        place += 1
    ended = time.perf_counter()
    return ended - began, ended - first


def main():
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1])
    parser.add_argument("--prompt", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    import random

    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, None)
    figures = {}
    for batch in options.batches:
        length = options.prompt + options.tokens + 8
        streams = Streams(llama_cpp, peer_model.gguf_file(), batch, length, options.threads)
        whole, decoding = [], []
        for repeat in range(options.repeats + 1):  # the first warms up
            draw = random.Random(repeat)
            prompts = [[draw.randrange(100, 49_000) for _ in range(options.prompt)] for _ in range(batch)]
            everything, after = write(streams, prompts, options.tokens, repeat)
            whole.append(batch * options.tokens / everything)
            decoding.append(batch * (options.tokens - 1) / after)
        streams.close()
        figures[str(batch)] = {
            "tokens_per_second": median(whole[1:]),
            "decoding": median(decoding[1:]),
            "runs": whole[1:],
        }
    settings = vars(options) | {"llama_cpp_python": llama_cpp.__version__}
    print(json.dumps({"peer": "llama.cpp", "settings": settings, "batches": figures}))


if __name__ == "__main__":
    main()

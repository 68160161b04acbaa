"""Word lists of the number parser: words accepted beside a number, and words that change or deny its value.

Only listed words and words of the question are accepted, because no list of forbidden words is complete: "half of 12",
"12 millions", "nicht 12" and "12 or thirteen" are not 12.
"""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS = _words(
    # numbers in words, and words that scale a number or compute with it
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety hundred thousand grand million "
    "billion trillion quadrillion lakh crore mio mln mil bn mn k dozen gross myriad googol "
    "half halves halved third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth millionth billionth "
    "quarter fraction portion couple pair double doubled triple tripled treble quadruple twice thrice "
    "twofold threefold tenfold squared cubed root reciprocal inverse factorial logarithm log "
    "minus negative plus multiplied divided modulo mod percentile twentieth thirtieth fortieth fiftieth sixtieth "
    "seventieth eightieth ninetieth "
    "millionen milliarden tausend hundert dutzend mille milliard milliards millones mila "
    "miljoen miljard milioni miliardi"
)
DENIALS = _words(
    # words that deny or doubt their clause
    "not no nor neither never none nothing nobody cannot cant dont isnt wasnt arent wont nope wrong incorrect false "
    "untrue impossible mistaken maybe may might could perhaps possibly hardly barely unlikely doubt doubtful unknown "
    "unclear nicht kein keine keinen keiner nie niemals pas jamais non ne ni nunca tampoco nao não niet geen inte ikke "
    "ei не нет ни 不 不是 非"
)
HEDGES = _words(
    # words that exclude the following number, make it approximate, or add an alternative
    "but except excluding excludes instead rather unless unlike besides or either far almost nearly about "
    "approximately approx roughly around circa ca if else versus vs"
)
BEFORE = _words(
    # words after which a number is a bound, a part, a power or a step of something else
    "than least most over under above below beyond past after before until till by per and without between within "
    "exceeds exceeding exceed less fewer more up down square sq cube cubic times "
    "sqrt cbrt sin cos tan cot csc ln exp"
)
AFTER = _words("and or to plus over under below score scores point")  # after a number, these continue the expression
OF = _words(
    # nouns that "of" may follow: "a total of 12" is 12, "a share of 12" is not
    "total number amount sum cost price value profit average mean answer result area length width height perimeter "
    "volume weight age distance speed rate balance change bill salary income revenue remainder temperature count "
    "maximum minimum population"
)
SIZES = _words("grand gross")  # numbers after a number ("12 grand"), but not before a noun ("the grand total is 12")
PLAIN = _words(
    # ordinary words of answer sentences
    "a an the this that these those it its it's he she they we i you his her hers their theirs our my your there here "
    "him them us many much "
    "is are was were be been being will would should must has have had do does did get gets got getting "
    "gives give gave giving makes make made making equals equal equaled comes come came leaves leave left leaving "
    "remains remain remained remaining needs need needed takes take took costs cost pays pay paid spends spend spent "
    "earns earn earned saves save saved sells sell sold buys buy bought receives receive received becomes become "
    "weighs weigh weighed uses use used runs run ran walks walk walked drives drive drove reads read eats eat "
    "ate works work worked sees see says said find finds found know knows obtain obtains obtained yields yield "
    "conclude concludes calculate calculated calculates compute computed denote denotes write reach reaches reached "
    "answer answers final result results solution solutions value values total totals totaling sum number numbers "
    "amount amounts count counts price profit average mean difference remainder product length width height area "
    "perimeter volume weight age distance speed rate time balance change bill salary income revenue therefore thus so "
    "hence then now finally altogether overall combined together all each every only just exactly simply precisely "
    "in of for to at on with as from out off into from his and also still again more fewer less extra additional "
    "correct right ok okay yes sure well done below following because since when where while let's let boxed box "
    "per day daily hourly weekly monthly yearly once old new own same both later earlier longer away high long tall "
    "wide deep big small same whole over first last next end start back "
    "maximum minimum largest smallest greatest possible different distinct such "
    # "the answer is", in other languages
    "die antwort ist das ergebnis lautet la réponse est le résultat respuesta es el resultado risposta il risultato "
    "resposta é antwoord 答案 答案是 是 为 為"
)
NOUNS = _words(
    # what is often counted
    "people person persons men women man woman boys boy girls girl children child kids kid students student adults "
    "friends friend animals animal items item things thing objects pieces piece units unit boxes bags bag balls ball "
    "books book cards card eggs egg apples apple ways way steps step points sides side"
)
UNITS = _words(
    "dollar dollars cent cents buck bucks euro euros pound pounds penny pennies usd eur gbp percent percentage degree "
    "degrees celsius fahrenheit second seconds sec secs minute minutes min mins hour hours hr hrs h day days week "
    "weeks month months year years yr yrs decade decades century centuries km kilometer kilometers kilometre "
    "kilometres cm centimeter centimeters centimetre centimetres mm millimeter millimeters meter meters metre metres "
    "mile miles mi mph kph kmh inch inches foot feet ft yard yards yd yds acre acres kg kilogram kilograms gram grams "
    "mg lb lbs ounce ounces oz ton tons tonne tonnes liter liters litre litres ml milliliter milliliters gallon "
    "gallons quart quarts pint pints cup cups teaspoon teaspoons tablespoon tablespoons calorie calories watt watts "
    "volt volts joule joules newton newtons radian radians rad square cubic sq"
)
LENGTHS = _words(
    # units that are squared and cubed, "12 cm²", where "x²" is another number
    "km kilometer kilometers kilometre kilometres meter meters metre metres cm centimeter centimeters centimetre "
    "centimetres mm mi mile miles yd yard yards ft foot feet in inch inches unit units"
)
ATTACHED = _words("km cm mm kg mg ml lb lbs oz ft mi mph kph kmh hr hrs min mins sec secs usd eur gbp deg rad sq")
SYMBOLS = frozenset(("°", "°c", "°f", "%", "€", "£", "$"))

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
COMMAND = re.compile(r"\\[A-Za-z]+")  # of LaTeX
ENDING = re.compile(r"(?:ing|ed|es|e?['’]s|s['’]|s|e)$")
NOT = re.compile(r"n['’]t$")


def stem(word: str) -> str:
    """Returns a word without a common English ending, so that "earns" is found where the question has "earn"."""
    return ENDING.sub("", word) if len(word) > 3 else word


def words_in(question: str) -> frozenset[str]:
    """Returns the stems of a question's words, without LaTeX commands and single letters, which name variables."""
    words = WORD.findall(COMMAND.sub(" ", question).lower())
    return frozenset(stem(word) for word in words if len(word) > 1)


def is_number_word(word: str) -> bool:
    """Returns whether a lower-case word is a number ("ten") or changes the value of a number beside it ("million")."""
    return word in NUMBERS or word.removesuffix("s") in NUMBERS or word.removesuffix("th") in NUMBERS


def is_denial(word: str) -> bool:
    """Returns whether a lower-case word denies or doubts its clause, such as "not" and "maybe"."""
    return word in DENIALS or NOT.search(word) is not None


def is_harmless(word: str, question: Collection[str] = ()) -> bool:
    """Returns whether a word beside a number leaves its value unchanged, as "dollars" does and "million" does not.

    Args:
        word: word in lower case, without punctuation around it.
        question: stems of the question's words (`words_in`), which are accepted, too.
    """
    if word in SYMBOLS:
        return True
    if is_number_word(word) or is_denial(word) or word in HEDGES:
        return False
    return word in PLAIN or word in NOUNS or word in UNITS or (len(word) > 1 and stem(word) in question)


def goes_on(words: Sequence[str], question: Collection[str] = ()) -> bool:
    """Returns whether the words after a number may continue the expression, so that the number alone is not the answer.

    True for "12 and more" and "12 dollars and more"; False for "12 boys and girls".

    Args:
        words: the words after the number, in lower case, without punctuation around them, all accepted by
            `is_harmless`.
        question: stems of the question's words (`words_in`).
    """
    if words and words[0] in AFTER:
        return True
    return any(word == "and" and not _is_counted(more, question) for word, more in pairwise((*words, "")))


def _is_counted(word: str, question: Collection[str]) -> bool:
    return word in NOUNS or word in UNITS or (word not in PLAIN and stem(word) in question)


def without_sizes(words: Sequence[str]) -> list[str]:
    """Returns words without each "grand" or "gross" that is no number because a noun such as "total" follows.

    Args:
        words: words in lower case, without punctuation around them.
    """
    return [word for word, noun in pairwise((*words, "")) if not (word in SIZES and noun in OF)]


def leads_to_number(words: Sequence[str]) -> bool:
    """Returns whether a number after some words can be the answer; False after words such as "than" and "share of".

    Args:
        words: the words before the number, in lower case, without punctuation, all accepted by `is_harmless`.
    """
    if not words:
        return True
    last = words[-1]
    if last == "of":
        return len(words) > 1 and words[-2] in OF
    return last not in BEFORE


def strange_word(unit: str, question: Collection[str] = ()) -> str:
    """Returns the first word of a unit that is not accepted beside a number; "" if all words are accepted.

    Args:
        unit: unit of a number, such as "cm^2" or "square inch".
        question: stems of the question's words (`words_in`), which are accepted, too.
    """
    words = (word.lower() for word in re.split(r"[ /]|\^\d+", unit))
    return next((word for word in words if word and not _is_unit(word, question)), "")


def _is_unit(word: str, question: Collection[str]) -> bool:
    return any(is_harmless(form, question) for form in (word, f"{word}s", f"{word}es")) and not is_number_word(word)

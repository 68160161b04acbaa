"""Splits a transcript into the model's turns and the environment's replies.

A session that needs nothing else is stateless, so it can be forked and replayed.
"""

from poziomka.core.transcript import Author, Transcript


def exchange(transcript: Transcript) -> tuple[list[str], list[str]]:
    """Returns the model's text of each turn, and the environment's replies between the turns, in order.

    Spans up to the last one of the user or the system are ignored: they are the prompt. There is a reply after every
    turn but perhaps the last.
    """
    turns: list[tuple[str, str]] = [("", "")]
    for span in transcript:
        said, heard = turns[-1]
        if span.author in (Author.USER, Author.SYSTEM):
            turns = [("", "")]
        elif span.author is Author.ENVIRONMENT:
            turns[-1] = (said, heard + span.text)
        elif heard:
            turns.append((span.text, ""))
        else:
            turns[-1] = (said + span.text, "")
    return [said for said, _ in turns], [heard for _, heard in turns if heard]

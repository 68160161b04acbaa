"""What was said by whom in an exchange, read off its transcript: a session that needs no more can fork and repeat."""

from poziomka.core.transcript import Author, Transcript


def exchange(transcript: Transcript) -> tuple[list[str], list[str]]:
    """Returns what the model said, turn by turn, and what was answered after each turn but the last."""
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

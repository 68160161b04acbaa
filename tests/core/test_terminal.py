"""What a terminal is shown: control characters as pictures, wherever they come from."""

import io

from poziomka.core.safety.terminal import CleanStream, behind, visible


def test_control_characters_are_shown_and_never_obeyed():
    assert visible("a\x1b[31m\x00\x7f\x9b\u202eb\r\n\t") == "a␛[31m␀\ufffd\ufffd\ufffdb␍\n\t"


def test_words_of_any_script_stay_as_they_are():
    assert visible("é 你好 😀 ­ עברית") == "é 你好 😀 ­ עברית"


def test_a_clean_stream_cleans_whatever_is_written():
    inner = io.StringIO()
    stream = CleanStream(inner)
    print("a\x1b]52;c;aGk=\x07b", "c", file=stream)
    stream.writelines(["\x1b[2J", "\rd"])
    assert inner.getvalue() == "a␛]52;c;aGk=␇b c\n␛[2J␍d"


def test_a_clean_stream_is_otherwise_the_stream_behind_it():
    inner = io.StringIO()
    stream = CleanStream(inner)
    assert stream.isatty() is False
    assert behind(stream) is inner
    assert behind(inner) is inner


def test_a_progress_line_may_begin_where_the_last_one_began_and_nothing_more():
    inner = io.StringIO()
    CleanStream(inner, returns=True).write("\r 10 %\r\x1b[K")
    assert inner.getvalue() == "\r 10 %␍␛[K"

"""Subtitles: both formats, the sloppy forms that exist, and which cues belong to a clip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.annotations.subtitles import Cue, parse_cues, text_of

SRT = """1
00:00:00,500 --> 00:00:02,000
<i>First</i> line
and {\\an8}second

2
01:00:02,000 --> 01:00:03,250 X1:1 X2:2
AT&T <b>says</b> 2 < 3
"""
VTT = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE nothing of
this is said

intro
00:01.000 --> 00:02.000 align:start position:0%
<v Roger Bingham>a&nbsp;&amp;<c.loud> b</c>

01:00:03.000 --> 01:00:04.000
<00:00:03.500>c &lt;d&gt;
"""


def test_subrip() -> None:
    assert parse_cues(SRT) == [
        Cue(0.5, 2.0, "First line\nand second"),
        Cue(3602.0, 3603.25, "AT&T says 2 < 3"),
    ]


def test_webvtt() -> None:
    assert parse_cues(VTT) == [Cue(1.0, 2.0, "a & b"), Cue(3603.0, 3604.0, "c <d>")]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(end: str) -> None:
    for text in (SRT, VTT):
        assert parse_cues(text.replace("\n", end)) == parse_cues(text)


def test_sloppy_files() -> None:
    without_blanks = "1\n00:00:01,000 --> 00:00:02,000\na\n2\n00:00:02,000 --> 00:00:03,000\nb"
    assert parse_cues(without_blanks) == [Cue(1, 2, "a"), Cue(2, 3, "b")]
    assert parse_cues("00:01.5 --> 00:02.5\n \nheard after a line of spaces") == [
        Cue(1.5, 2.5, "heard after a line of spaces")
    ]
    assert parse_cues("00:01.000 --> 00:02.000\ngo --> there")[0].text == "go --> there"
    assert parse_cues("") == parse_cues("\n \n") == parse_cues("WEBVTT\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words\n", "row 1: no line with -->"),
        ("1\n00:00:01,000 --> soon\nx", "row 2: '00:00:01,000 --> soon' is not START --> END"),
        ("WEBVTT\n\n00:02.000 --> 00:01.000\nx", "row 3: a cue ends before it starts"),
        ("00:99.000 --> 01:00.000\nx", "row 1: '00:99.000"),
    ],
)
def test_what_is_no_subtitle_file(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_cues(text)
    assert said in str(error.value)


def test_the_text_of_a_clip_is_of_the_cues_that_overlap_it() -> None:
    cues = [Cue(0, 2, "a"), Cue(2, 4, "b"), Cue(4, 4, "at four"), Cue(5, 9, "c")]
    assert text_of(cues) == "a b at four c"
    assert text_of(cues, 0, 2) == "a"
    assert text_of(cues, 2, 4) == "b"
    assert text_of(cues, 1.9, 2.1) == "a b"
    assert text_of(cues, 4, 5) == "at four"
    assert text_of(cues, 6, 7) == "c"
    assert text_of(cues, 9, 10) == ""


def test_rolling_captions_are_not_said_twice() -> None:
    assert text_of([Cue(0, 1, "hello"), Cue(1, 2, "hello\nworld"), Cue(2, 3, "world"), Cue(3, 4, "hello")]) == (
        "hello world hello"
    )


cue_lists = st.lists(
    st.tuples(st.integers(0, 7_200_000), st.integers(0, 60_000), st.integers(0, 10**6)), min_size=1, max_size=8
)


def moment(milliseconds: int, comma: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{comma}{thousandths:03d}"


@settings(max_examples=60)
@given(cue_lists, st.sampled_from([",", "."]), st.integers(0, 7_200_000), st.integers(1, 60_000))
def test_every_cue_comes_back_and_a_clip_has_those_that_overlap(
    given_cues: list[tuple[int, int, int]], comma: str, start: int, length: int
) -> None:
    written = [(at, at + lasts, f"word{number} {where}") for where, (at, lasts, number) in enumerate(given_cues)]
    blocks = [f"{n}\n{moment(a, comma)} --> {moment(b, comma)}\n{text}\n" for n, (a, b, text) in enumerate(written)]
    cues = parse_cues("\n".join(blocks))
    assert [(round(cue.start * 1000), round(cue.end * 1000), cue.text) for cue in cues] == written
    inside = [text for a, b, text in written if a < start + length and (b > start or a == b == start)]
    assert text_of(cues, start / 1000, (start + length) / 1000) == " ".join(inside)

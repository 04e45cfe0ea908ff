"""Streams are read however they are split, and end their lines."""

import json

import pytest
from acme_client import synchronous
from acme_client.sse import read_events
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


async def split(data, size):
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(data, size):
    return [event async for event in read_events(split(data, size))]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_reads_the_standards_forms(size):
    stream = (
        ': sign of life\n\r\nevent: a\r\ndata: {"x": "\N{GRINNING FACE}"}\r\n\r\n'
        'id: 1\revent:b\rdata:{"x":\rdata: 2}\r\rretry: 9\n\ndata: {}'
    )
    assert await read(stream.encode(), size) == [
        {"type": "a", "x": "\N{GRINNING FACE}"},
        {"type": "b", "x": 2},
    ]


# U+2028 and U+0085 end lines for `str.splitlines`, and not in a stream.
@given(texts=st.lists(TEXT | st.just("\u2028\x85"), max_size=4), size=st.integers(1, 30))
async def test_reads_any_text(texts, size):
    events = [{"type": "message.delta", "delta": text} for text in texts]
    frames = [f"event: message.delta\ndata: {json.dumps(one, ensure_ascii=False)}\n\n" for one in events]
    data = "".join(frames).encode()
    assert await read(data, size) == events
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert [*synchronous.sse.read_events(chunks)] == events

from collections.abc import Iterator

import httpx
from starter_cli import events
from starter_cli.events import RunEvent

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}


def response(*chunks: bytes) -> httpx.Response:
    return httpx.Response(200, headers=HEADERS, content=iter(chunks))


def test_reads_events_and_leaves_out_comments() -> None:
    content = (
        b': keep-alive\n\nid: 1\nevent: run.started\ndata: {"seq": 1}\n\n: again\n\n'
        b"id:2\nevent:message.delta\ndata:{}\n\n"
    )
    assert list(events.read(response(content))) == [
        RunEvent("1", "run.started", {"seq": 1}),
        RunEvent("2", "message.delta", {}),
    ]


def test_gives_an_event_before_the_next_one_is_there() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"id: 1\nevent: run.started\ndata: {}\n\n"
        raise AssertionError("read beyond the first event")

    assert next(events.read(httpx.Response(200, headers=HEADERS, content=chunks()))).type == "run.started"


def test_does_not_give_an_event_that_was_cut_off() -> None:
    assert list(events.read(response(b"id: 1\nevent: run.started\ndata: {}"))) == []

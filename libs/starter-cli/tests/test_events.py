from starter_cli import events
from starter_cli.events import RunEvent


def test_reads_events_and_leaves_out_comments() -> None:
    lines = (
        ': keep-alive||id: 1|event: run.started|data: {"seq": 1}||: again||id:2|event:message.delta|data:{}||'
    )
    assert list(events.read(lines.split("|"))) == [
        RunEvent("1", "run.started", {"seq": 1}),
        RunEvent("2", "message.delta", {}),
    ]


def test_gives_an_event_before_the_next_one_is_there() -> None:
    def lines() -> object:
        yield from ("id: 1", "event: run.started", "data: {}", "")
        raise AssertionError("asked for more than the first event")

    assert next(events.read(lines())).type == "run.started"  # type: ignore[arg-type]  # an iterator of lines


def test_does_not_give_an_event_that_was_cut_off() -> None:
    assert list(events.read(["id: 1", "event: run.started", "data: {}"])) == []

"""An EventSource, as the standard has it, comes back by itself after an outage."""

from sandbox.embedded import free_port
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from testkit.node_scripts import event_source

PATH = "/api/v1/runs/1/events"


class Run:
    """A service that sends one event for each time that it is asked, and notes after which."""

    def __init__(self) -> None:
        self.resumed_after: list[str] = []

    def app(self):
        app = Starlette()
        app.add_route("/{path:path}", self.answer)
        return app

    async def answer(self, request):
        self.resumed_after.append(request.headers.get("last-event-id", ""))
        number = len(self.resumed_after)
        return StreamingResponse(
            iter([f"retry: 10\nid: {number}\nevent: tick\ndata: {number}\n\n"]),
            media_type="text/event-stream",
        )


def test_an_event_source_waits_for_a_service_that_is_away_and_resumes(start, serve, services):
    run, port = Run(), free_port()
    with start(CHAT_AGENT_PORT=port) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until(lambda: gateway.client.get("/api/v1/auth/me").status_code == 200)
        url = f"http://127.0.0.1:{gateway.port}{PATH}"
        with event_source(url, services.token(), ["tick"]) as received:
            # Nobody is there.
            assert next(received)["type"] == "open"
            assert next(received)["isClosed"] is False
            with serve(run.app(), port=port):
                first = next(one for one in received if one["type"] == "tick")
            # It is away again, in the middle of the stream, and comes back.
            with serve(run.app(), port=port):
                last = len(run.resumed_after)
                second = next(one for one in received if one["type"] == "tick" and int(one["id"]) > last)
    assert first["id"] == "1"
    assert int(second["id"]) > 1
    assert run.resumed_after[0] == ""
    # Each time after the event before it: none is missed.
    assert run.resumed_after[1:] == [str(number) for number in range(1, len(run.resumed_after))]


def test_a_token_that_is_none_ends_it(gateway):
    url = f"http://127.0.0.1:{gateway.port}{PATH}"
    with event_source(url, "a.b.c", ["tick"]) as received:
        error = next(received)
    assert (error["type"], error["code"], error["isClosed"]) == ("error", 401, True)

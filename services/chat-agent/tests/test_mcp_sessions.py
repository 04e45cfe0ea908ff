"""MCP servers with sessions: streams that are read on, requests of the server, and sessions that end."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from chat_agent.mcp_servers import client as mcp_client
from chat_agent.settings import Settings
from testkit.eventually import until
from testkit.live_server import serving

from .client_helpers import cancel_run, payloads_of, read_events, start_run
from .sdk_mcp_server import ODD_LETTERS, SessionServer, StoredEvents, WithoutDiscovery
from .test_mcp_servers import agent_with, output_of, register

Json = dict[str, Any]


@pytest.fixture(scope="module")
def session() -> SessionServer:
    return SessionServer()


@pytest.fixture(scope="module")
def resumable(session: SessionServer) -> WithoutDiscovery:
    """Return a server whose streams begin with an event that has an id only."""
    app = session.server.streamable_http_app(event_store=StoredEvents(), retry_interval=100)
    return WithoutDiscovery(app)


@pytest.fixture(scope="module")
def mcp_url(resumable: WithoutDiscovery) -> Iterator[str]:
    with serving(resumable) as base:
        yield f"{base}/mcp"


@pytest.fixture(scope="module")
def settings(settings: Settings, mcp_url: str) -> Settings:
    return settings.model_copy(update={"tool_private_hosts": frozenset({urlsplit(mcp_url).netloc})})


@pytest.fixture
def _agent(
    admin: httpx.Client, mcp_url: str, resumable: WithoutDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as a busy machine takes.
    monkeypatch.setattr(mcp_client, "SHORT_SECONDS", 60.0)
    register(admin, mcp_url, timeout_seconds=60)
    agent_with(admin)
    resumable.methods.clear()


def call(client: httpx.Client, tool: str) -> Json:
    return output_of(client, f"name=ann [sandbox: call=shop__{tool}]")


@pytest.mark.usefixtures("_agent")
def test_a_stream_that_ends_early_is_read_on(member: httpx.Client, resumable: WithoutDiscovery) -> None:
    output = call(member, "disconnect")
    assert (output["output"], output.get("failed", False)) == ("answered later", False)
    # The request is made once: the initialization, its notification, the call.
    assert resumable.methods == ["POST", "POST", "POST", "GET", "DELETE"]


@pytest.mark.usefixtures("_agent")
def test_a_ping_of_the_server_is_answered(member: httpx.Client) -> None:
    assert call(member, "ping")["output"] == "the client is there"


@pytest.mark.usefixtures("_agent")
def test_a_question_of_the_server_is_refused_at_once(member: httpx.Client) -> None:
    output = call(member, "consent")
    assert output["failed"] is True
    assert "elicitation/create" in output["output"]


@pytest.mark.usefixtures("_agent")
def test_a_line_ends_in_a_line_feed_or_carriage_return_only(member: httpx.Client) -> None:
    run = start_run(member, "[sandbox: call=shop__letters]", agent_type="support")
    (output,) = payloads_of(read_events(member, run), "tool.output")
    assert output["output"] == ODD_LETTERS


@pytest.mark.usefixtures("_agent")
def test_what_is_no_text_is_named(member: httpx.Client) -> None:
    assert call(member, "files")["output"].splitlines() == [
        "[image: image/png]",
        "[resource: application/pdf, file:///b.pdf]",
        "a.txt, file:///a.txt, The terms.",
    ]


@pytest.mark.usefixtures("_agent")
def test_a_session_ends_when_the_call_takes_too_long(
    admin: httpx.Client,
    member: httpx.Client,
    session: SessionServer,
    resumable: WithoutDiscovery,
    mcp_url: str,
) -> None:
    register(admin, mcp_url, timeout_seconds=5)
    session.cancelled.clear()
    assert call(member, "wait")["failed"] is True
    until(lambda: session.cancelled == ["ann"], describe=lambda: session.cancelled)
    assert resumable.methods[-1] == "DELETE"


@pytest.mark.usefixtures("_agent")
def test_a_session_ends_with_the_run(
    member: httpx.Client, admin: httpx.Client, session: SessionServer, mcp_url: str
) -> None:
    register(admin, mcp_url, timeout_seconds=120)
    session.cancelled.clear()
    session.waiting.clear()
    run = start_run(member, "name=ann [sandbox: call=shop__wait]", agent_type="support")
    until(lambda: session.waiting)
    cancel_run(member, run).raise_for_status()
    until(lambda: session.cancelled == ["ann"], describe=lambda: session.cancelled)

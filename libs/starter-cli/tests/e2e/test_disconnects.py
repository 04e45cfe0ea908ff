"""Clients of Chat Completions that close their connection to the gateway."""

import json
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest
from starter_cli.stack import Stack

from .conftest import Person, until

PAUSING = "Tell me more [sandbox: tokens=60, pause-after=20]"


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(
    ("more", "status"), [({}, "cancelled"), ({"metadata": {"on_disconnect": "continue"}}, "completed")]
)
def test_a_closed_connection_cancels_the_run_behind_the_gateway(
    stack: Stack, neighbour: Person, is_streamed: bool, more: dict[str, object], status: str
) -> None:
    message = {"role": "user", "content": PAUSING}
    body = json.dumps({"model": "triage", "messages": [message], "stream": is_streamed, **more})
    headers = {"Authorization": neighbour.http.headers["Authorization"], "Content-Type": "application/json"}
    with closing(HTTPConnection(httpx.URL(stack.gateway_url).netloc.decode(), timeout=60)) as client:
        client.request("POST", "/v1/chat/completions", body, headers)
        until(lambda: statuses(neighbour) == ["running"])
    if status == "completed":
        until(lambda: resume(stack) and statuses(neighbour) != ["running"])
    until(lambda: statuses(neighbour) == [status])


def statuses(person: Person) -> list[str]:
    """Return the statuses of somebody's runs."""
    return [run["status"] for run in person.http.get("/api/v1/runs").json()["items"]]


def resume(stack: Stack) -> bool:
    """Resume the model."""
    return httpx.post(f"{stack.sandbox_url}/_sandbox/resume", timeout=60, trust_env=False).is_success

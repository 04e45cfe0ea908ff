"""The client libraries, packed, installed and used as applications would."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starter_cli.stack import Stack
from testkit.client_environments import available
from testkit.proxy import Proxy

from . import client_packages
from .client_packages import Application
from .conftest import COMMAND_SECONDS

LANGUAGES = ["python", *(["typescript"] if "testkit-node" in available() else [])]


@pytest.fixture(scope="module", params=LANGUAGES)
def received(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Run the program, and break its connection where it says so; return what it printed."""
    if request.param == "typescript":
        application = client_packages.typescript(request.getfixturevalue("typescript_folder"))
    else:
        application = client_packages.python(tmp_path_factory.mktemp("client"))
    with Proxy(urlsplit(stack.gateway_url).port or 80) as proxy:
        arguments = {
            "url": stack.gateway_url,
            "fragile_url": f"http://127.0.0.1:{proxy.port}",
            "email": stack.owner.email,
            "password": stack.owner.password,
        }
        documents: dict[str, Any] = {"language": request.param}
        for document in lines(application, json.dumps(arguments)):
            if document == "cut":
                with proxy.cut():
                    pass
            else:
                documents |= document
    return documents


def lines(application: Application, arguments: str) -> Iterator[Any]:
    """Yield what the program prints, as it comes; raises where it fails."""
    command = ["timeout", str(COMMAND_SECONDS), *application.command, arguments]
    environment = {**os.environ, **application.environment}
    with subprocess.Popen(
        command, cwd=application.folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield from map(json.loads, process.stdout)
    assert process.returncode == 0


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events if event["type"] != "run.queued"]


def test_says_what_the_server_refuses(received: dict[str, Any]) -> None:
    status, code, message, has_request_id = received["refused"]
    assert (status, code, has_request_id) == (401, "invalid_credentials", True)
    assert message.startswith("Incorrect email or password.")
    assert received["unknown"][:2] == [404, "agent_not_found"]


def test_streams_a_run_to_its_end(received: dict[str, Any]) -> None:
    whole = received["whole"]
    assert numbers(whole) == list(range(1, len(whole) + 1))
    assert types(whole)[0] == "run.started"
    assert {"tool.called", "tool.output", "agent.changed", "item.completed"} <= set(types(whole))
    assert types(whole)[-1] == "run.completed"
    assert received["messages"][-1] == whole[-1]["output"] == received["text"]
    assert received["isListed"]
    assert received["runs"] == [whole[0]["run_id"]]
    assert received["again"] == whole[2:]
    assert received["title"] == "Time and code"


def test_resumes_where_the_connection_broke_and_stops(received: dict[str, Any]) -> None:
    resumed = received["resumed"]
    assert received["resumedAt"] > 10
    assert numbers(resumed) == list(range(1, len(resumed) + 1))
    assert types(resumed)[-1] == "run.cancelled"
    text = "".join(event["delta"] for event in resumed if event["type"] == "message.delta")
    assert text == resumed[-1]["output"]


def test_continues_after_an_approval(received: dict[str, Any]) -> None:
    waiting, continued = received["waiting"], received["continued"]
    assert types(waiting)[-2:] == ["approval.required", "run.waiting"]
    assert types(continued)[0] == "run.resumed"
    assert types(continued)[-1] == "run.completed"
    assert numbers(waiting + continued) == list(range(1, len(waiting + continued) + 1))
    assert received["fromStart"] == waiting + continued
    assert received["rest"] == []


def test_clients_that_share_a_session_renew_it_once(received: dict[str, Any]) -> None:
    assert (received["afterExpiry"], received["afterRefusal"]) == (1, 2)
    assert received["byToken"] == 1


def test_does_what_its_language_has(received: dict[str, Any]) -> None:
    if received["language"] == "typescript":
        frames = [{"event": "a", "data": "\N{GRINNING FACE}: x"}, {"event": "b", "data": "\n2"}]
        assert received["frames"] == [frames] * 4
        assert received["unsigned"] == received["after"] == "signed out"
    else:
        assert received["mistyped"][0] == 401
        synchronous = received["synchronous"]
        assert synchronous["refused"] == [404, "agent_not_found"]
        assert numbers(synchronous["resumed"]) == list(range(1, len(synchronous["resumed"]) + 1))
        assert types(synchronous["resumed"])[-1] == "run.cancelled"
        assert (synchronous["pages"], synchronous["refreshes"]) == ([1, 1], 1)

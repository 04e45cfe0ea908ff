"""Pact for providers: every need that is written down of a service, verified against the running service.

STATES = {"a conversation with one message": a_conversation_with_one_message}

def test_provides_what_others_need(settings, issuer, databases):
    verify_provider(create_app(settings), issuer, states=STATES, reset=databases.empty)
"""

import asyncio
import base64
import json
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from pact import Verifier
from servicekit.app import Resources
from servicekit.events.outbox import Event, outbox
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from testkit.combined_app import CombinedApp
from testkit.issuer import Issuer
from testkit.live_server import serving
from testkit.pacts import ROOT, TENANT, USER, Json

# Where Pact asks for a provider state, and for an event.
STATE_PATH, EVENT_PATH = "/_pact/state", "/_pact/message"
logger = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"Bearer placeholder/(?:person/(\w+)|service/([^/]+)/([^/]+)/([^/]+))")

# Makes a state so: `async def a_conversation(resources: Resources, **parameters) -> None`.
State = Callable[..., Coroutine[Any, Any, object]]
# Builds an event as the service does, for those that a state does not leave in the outbox.
BuildEvent = Callable[[Resources], Coroutine[Any, Any, Event]]


def verify_provider(  # noqa: PLR0913  # each by its name
    app: FastAPI,
    issuer: Issuer,
    *,
    states: Mapping[str, State],
    events: Mapping[str, BuildEvent] | None = None,
    reset: Callable[[], object] = lambda: None,
    root: Path = ROOT,
) -> int:
    """Verify all pacts that name a service, on a real socket; returns how many interactions there were.

    Each state runs where the app runs; `reset` runs before the first state of an interaction that follows
    another. An event is taken from `events` by its type, else from the outbox, where the state has left it.
    Raises AssertionError with Pact's report, also when no pact names the service.
    """
    name: str = app.state.resources.name
    pacts = pacts_of_provider(name, root)
    needs = [need for pact in pacts.values() for need in pact["interactions"]]
    assert needs, f"no pact names {name}"
    unknown = {state["name"] for need in needs for state in need.get("providerStates", [])} - set(states)
    assert not unknown, f"tests/contract/states.py of {name} does not know: {', '.join(sorted(unknown))}"
    provider = ProviderApp(app, issuer, states, events or {}, reset, needs)
    with serving(provider) as url:
        verifier = Verifier(name, host="127.0.0.1").add_transport(url=url)
        verifier.add_transport(protocol="message", port=urlsplit(url).port, path=EVENT_PATH, scheme="http")
        verifier.state_handler(url + STATE_PATH, body=True)
        for path in pacts:
            verifier.add_source(path)
        verify(verifier, len(needs))
    return len(needs)


def verify(verifier: Verifier, expected: int) -> None:
    """Run a verification; raises AssertionError with its report."""
    try:
        verifier.verify()
    except RuntimeError as failure:
        raise AssertionError(f"{failure}\n{verifier.output(strip_ansi=True)}") from None
    done = len(verifier.results["interactionResults"])
    assert done == expected, f"{done} of {expected} interactions were verified"


def pacts_of_provider(provider: str, root: Path = ROOT) -> dict[Path, Json]:
    """Find the pacts that name a provider, whoever the consumer is."""
    pacts = {
        path: json.loads(path.read_text()) for path in sorted(root.glob("services/*/contract/pacts/*.json"))
    }
    return {path: pact for path, pact in pacts.items() if pact["provider"]["name"] == provider}


class ProviderApp:
    """A service under verification: its public and internal apps, and the routes that Pact calls."""

    def __init__(  # noqa: PLR0913, PLR0917  # all that `verify_provider` was given
        self,
        app: FastAPI,
        issuer: Issuer,
        states: Mapping[str, State],
        events: Mapping[str, BuildEvent],
        reset: Callable[[], object],
        needs: list[Json],
    ) -> None:
        self._resources: Resources = app.state.resources
        self._app = CombinedApp(app)
        self._issuer = issuer
        self._states = states
        self._events = events
        self._reset = reset
        self._types = {need["description"]: need.get("metadata", {}).get("type") for need in needs}
        self._used = False
        routes = [
            Route(STATE_PATH, self.set_state, methods=["POST"]),
            Route(EVENT_PATH, self.get_event, methods=["POST"]),
        ]
        self._control = Starlette(routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, with real tokens where a pact has placeholders."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in {STATE_PATH, EVENT_PATH}:
            await self._control(scope, receive, send)
        else:
            self._used = True
            headers = [(name, self.token(value)) for name, value in scope["headers"]]
            await self._app({**scope, "headers": headers}, receive, send)

    def token(self, value: bytes) -> bytes:
        """Issue the token that a placeholder stands for; anything else stays as it is."""
        match = PLACEHOLDER.fullmatch(value.decode("latin-1"))
        if not match:
            return value
        role, client_id, audience, scope = match.groups()
        if role:
            token = self._issuer.token(tenant_id=TENANT, subject=USER, role=role)
        else:
            token = self._issuer.service_token(client_id, audience=audience, scope=scope.replace("+", " "))
        return f"Bearer {token}".encode()

    async def set_state(self, request: Request) -> Response:
        """Make a provider state so; the first one of an interaction begins anew."""
        change = await request.json()
        if self._used:
            self._used = False
            await asyncio.to_thread(self._reset)
        try:
            if change["state"]:
                await self._states[change["state"]](self._resources, **(change.get("params") or {}))
        except Exception as error:
            logger.exception("a provider state could not be made", extra={"state": change["state"]})
            # Not a 5xx: Pact would try again and again, for two minutes.
            return Response(repr(error), status_code=HTTPStatus.CONFLICT)
        return Response()

    async def get_event(self, request: Request) -> Response:
        """Return the event that a consumer knows by a description, as the service tells it."""
        self._used = True
        type_ = self._types[(await request.json())["description"]]
        if type_ in self._events:
            event = await self._events[type_](self._resources)
            type_, data = event.type, event.model_dump(mode="json")
        else:
            data = await newest_event(self._resources, type_)
        metadata = {"type": type_, "contentType": "application/json"}
        encoded = base64.b64encode(json.dumps(metadata).encode()).decode()
        return JSONResponse(data, headers={"Pact-Message-Metadata": encoded})


async def newest_event(resources: Resources, type_: str) -> Json:
    """Return the data of the newest event of a type in the outbox; raises LookupError."""
    query = select(outbox.c.data).where(outbox.c.type == type_).order_by(outbox.c.seq.desc()).limit(1)
    async with resources.database.begin() as session:
        data: Json | None = await session.scalar(query)
    if data is None:
        raise LookupError(f"{resources.name} has published no {type_}")
    return data

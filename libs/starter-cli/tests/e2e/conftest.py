"""The real stack, once for all of these tests, and people who use it through the gateway."""

import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starter_cli import events
from starter_cli.events import RunEvent
from starter_cli.stack import Stack
from testkit import eventually
from testkit.client_environments import available
from testkit.fork_server import ForkServer
from testkit.node_scripts import IS_AVAILABLE, has_browser

from .client_packages import installed_typescript

collect_ignore = [
    *([] if IS_AVAILABLE else ["test_event_source.py"]),
    *([] if "auth-node" in available() else ["test_openid_client.py"]),
    *([] if has_browser() else ["test_demo.py"]),
    *([] if has_browser() and "testkit-node" in available() else ["test_client_in_browser.py"]),
]
Acme = Callable[..., subprocess.CompletedProcess[str]]

PASSWORD = "seven purple walruses juggle"
# What reaches its place as an event, or after a part was started again, may take so long.
PATIENCE_SECONDS = 60
# Enough for a command that starts a stack, on a machine that has other things to do.
COMMAND_SECONDS = 240
# One person may send hundreds of requests at once, and a busy machine take its time over them.
PATIENT = {
    "CHAT_RATE_LIMIT_PER_MINUTE": "10000",
    "CHAT_STREAM_RATE_LIMIT_PER_MINUTE": "10000",
    "CHAT_STREAM_CONCURRENT_LIMIT": "1000",
    "BILLING_TIMEOUT_SECONDS": "60",
    # Base64 makes more of an image.
    "MAX_MESSAGE_BODY_BYTES": str(28 * 1024 * 1024),
}
# The runs of a replica that dies are taken over soon, so that a test need not wait for long.
# And who leaves is gone at once.
# In millionths of a US dollar, of a million tokens.
PRICES = '{"sandbox-large": {"input": 2000000, "cached": 2000000, "output": 8000000}}'
SOON = {
    "chat-agent": {"RUN_LEASE_SECONDS": "4", "MODEL_PRICES": PRICES, **PATIENT},
    # Many tests sign in as the first owner: of too many sessions, the oldest would end, that of a fixture.
    "auth": {"AUTH_ACCOUNT_DELETION_GRACE_DAYS": "0", "AUTH_SESSIONS_PER_PERSON": "100"},
}


class Evidence:
    """What there is to say of a stack that does not do what it should: its last answer, and its problems."""

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.answer: httpx.Response | httpx.TimeoutException | None = None

    def note(self, answer: httpx.Response | httpx.TimeoutException) -> None:
        """Remember an answer, or that there was none."""
        self.answer = answer

    def describe(self) -> str:
        """Describe the last answer and the problems of all components."""
        problems = self.stack.problems if self.stack else {}
        return f"the last answer was {describe_answer(self.answer)}; problems of components: {problems}"


def describe_answer(answer: httpx.Response | httpx.TimeoutException | None) -> str:
    """Describe the answer to a request, which may be that there was none."""
    if not isinstance(answer, httpx.Response):
        return repr(answer)
    with suppress(httpx.ResponseNotRead):  # of a stream
        return f"{answer.status_code} to {answer.request.method} {answer.url}: {answer.text[:2000]}"
    return f"{answer.status_code} to {answer.request.method} {answer.url}"


evidence = Evidence()


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, each look at which is a request; fail, saying what was answered last."""

    def look() -> Any:
        try:
            return condition()
        except httpx.TimeoutException as error:
            evidence.note(error)
            return None

    return eventually.until(look, PATIENCE_SECONDS, interval=0.1, describe=evidence.describe)


def until_available(request: Callable[[], httpx.Response]) -> httpx.Response:
    """Repeat a request while it is refused for the moment, as by a service that stood still."""
    answer: httpx.Response = until(
        lambda: (each := request()).status_code != HTTPStatus.SERVICE_UNAVAILABLE and each
    )
    return answer


def http_client(url: str, **headers: str) -> httpx.Client:
    """Return a client whose last answer is known to `until`."""
    hooks = {"response": [evidence.note]}
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False, event_hooks=hooks)


@dataclass
class Person:
    """Somebody at the gateway, signed in or not."""

    http: httpx.Client
    tenant_id: str = ""
    signed_in_at: float = -math.inf

    def verify(self, token: str) -> None:
        """Confirm an address, by the token of its mail."""
        body = {"token": token}
        answer = until_available(lambda: self.http.post("/api/v1/auth/email/verify", json=body))
        assert answer.is_success, answer.text

    def sign_in(self, email: str, password: str) -> httpx.Response:
        body = {"email": email, "password": password}
        answer = until_available(lambda: self.http.post("/api/v1/auth/token", json=body))
        if answer.is_success:
            self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            self.tenant_id = answer.json()["tenant_id"]
            self.signed_in_at = time.monotonic()
        return answer

    def stream(self, message: str, **more: Any) -> list[tuple[float, RunEvent]]:
        """Send a message, and return all events of the run with the times of their arrival."""
        with self.http.stream("POST", "/api/v1/chat/stream", json={"message": message, **more}) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [(time.time(), event) for event in events.read(answer)]

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/api/v1/conversations/{conversation_id}")
        assert answer.status_code == 200, answer.text
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def usage(self) -> dict[str, int]:
        answer = self.http.get(f"/api/v1/billing/tenants/{self.tenant_id}/usage")
        assert answer.status_code == 200, answer.text
        totals: dict[str, int] = answer.json()["totals"]
        return totals


class Inbox:
    """The mail that the sandbox took."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"{stack.inbox_url}inbox"

    def mails(self, to: str) -> list[dict[str, Any]]:
        mails: list[dict[str, Any]] = httpx.get(
            self._url, params={"to": to}, trust_env=False, timeout=60
        ).json()
        return mails

    def token(self, to: str) -> str:
        """Wait for the mail to an address, and take out of it the token that proves that it arrived."""
        text = until(lambda: self.mails(to))[0]["text"]
        match = re.search(r"token: (\S+)", text)
        assert match, text
        return match[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that use the stack on one worker: one stack is enough, and one server of commands."""
    for item in items:
        if {"stack", "acme"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def acme() -> Iterator[Acme]:
    """Return a function that runs a command of the operator's to its end; importing it is most of that."""
    with ForkServer("starter_cli.app", "starter_cli.evaluations") as server:

        def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
            argv = ["starter_cli.app", *map(str, arguments)]
            return server.run(argv, {**os.environ, **environment}, COMMAND_SECONDS)

        yield run


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Start the stack. (As root, Postgres is somebody else, who cannot enter pytest's own data_dir.)"""
    data = Path(tempfile.mkdtemp(prefix="acme e2e "))
    data.chmod(0o711)
    try:
        with Stack(data, durable=False, replicas={"chat-agent": 2}, settings=SOON) as stack:
            evidence.stack = stack
            yield stack
    finally:
        shutil.rmtree(data)


@pytest.fixture
def someone(stack: Stack) -> Iterator[Callable[[], Person]]:
    """Return a function that makes people who have not signed in."""
    made: list[Person] = []

    def make() -> Person:
        made.append(Person(http_client(stack.gateway_url)))
        return made[-1]

    yield make
    for person in made:
        person.http.close()


@pytest.fixture
def stranger(someone: Callable[[], Person]) -> Person:
    """Return somebody who has not signed in."""
    return someone()


@pytest.fixture(scope="session")
def the_owner(stack: Stack) -> Iterator[Person]:
    """Return the owner of the first tenant, who has not signed in yet."""
    with http_client(stack.gateway_url) as client:
        yield Person(client)


@pytest.fixture
def owner(stack: Stack, the_owner: Person) -> Person:
    """Return the owner of the first tenant, signed in, and not long ago: a token lives for ten minutes."""
    if time.monotonic() - the_owner.signed_in_at > 300:
        assert the_owner.sign_in(stack.owner.email, stack.owner.password).status_code == 200
    return the_owner


@pytest.fixture(scope="session")
def typescript_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the client library for TypeScript; to pack and install it takes ten seconds."""
    return installed_typescript(tmp_path_factory.mktemp("typescript"))


@pytest.fixture(scope="session")
def inbox(stack: Stack) -> Inbox:
    """Return the inbox of the sandbox."""
    return Inbox(stack)


@pytest.fixture
def register(stack: Stack) -> Callable[..., str]:
    """Return a function that signs somebody new up and returns the address; the password is PASSWORD."""

    def sign_up(email: str = "") -> str:
        email = email or f"{uuid4().hex}@example.com"
        body = {"email": email, "password": PASSWORD, "tenant_name": "Of somebody new", "accept_terms": True}
        url = f"{stack.gateway_url}/api/v1/auth/register"
        answer = until_available(lambda: httpx.post(url, json=body, timeout=60, trust_env=False))
        assert answer.status_code == 202, answer.text
        return email

    return sign_up


@pytest.fixture
def neighbour(register: Callable[..., str], inbox: Inbox, someone: Callable[[], Person]) -> Person:
    """Return the owner of another tenant, signed in."""
    email, person = register(), someone()
    person.verify(inbox.token(email))
    assert person.sign_in(email, PASSWORD).status_code == 200
    return person

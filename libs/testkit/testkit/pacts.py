"""Pact for consumers: a test plays what its service needs of another one, and so writes it down.

    async def test_reads_the_last_items():
        with consumer_pact("chat-agent", "conversation") as pact:
            (
                pact.upon_receiving("a request for the last items")
                .given("a conversation with one message", conversation_id=CONVERSATION)
                .with_request("GET", f"/internal/v1/conversations/{CONVERSATION}/items")
                .with_header("Authorization", machine("chat-agent", "conversation", "conversations:read"))
                .with_header("Acme-On-Behalf-Of", ON_BEHALF_OF)
                .will_respond_with(200)
                .with_body({"items": match.each_like({"id": match.str("a"), "data": {}})}, "application/json")
            )
            with pact.serve() as server:
                ...  # the real client, against server.url

The files hold placeholders where a token goes; they say what token it takes. Providers: see `providers`.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
from pact import Pact
from pact.pact import PactServer
from servicekit.events.outbox import ReceivedEvent
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceTokens

ROOT = Path(__file__).resolve().parents[3]

# Whom every pact speaks of; provider states make what is theirs.
TENANT = UUID("7e4a0000-0000-4000-8000-000000000001")
USER = "user:05e70000-0000-4000-8000-000000000002"
ON_BEHALF_OF = f"{TENANT}/{USER}"

# Otherwise Pact tells its makers of every run.
os.environ["PACT_DO_NOT_TRACK"] = "true"

Json = dict[str, Any]


def person(role: str = "owner") -> str:
    """Return what stands in an Authorization header for the token of USER in TENANT."""
    return f"Bearer placeholder/person/{role}"


def machine(client_id: str, audience: str, scope: str) -> str:
    """Return what stands in an Authorization header for a service's own token."""
    return f"Bearer placeholder/service/{client_id}/{audience}/{'+'.join(scope.split())}"


class Placeholders(ServiceTokens):
    """A service's tokens as they stand in a pact; nobody issues them."""

    async def get(self, audience: str, scope: str, *, refused: str | None = None) -> str:  # noqa: ARG002
        """Return what token it would be."""
        client_id, _ = self._credentials
        return machine(client_id, audience, scope).removeprefix("Bearer ")


def service_tokens(client_id: str) -> ServiceTokens:
    """Make tokens that a service's real client can call with where auth is not played."""
    return Placeholders(HttpPool(), "http://auth.test", client_id, None)


class PactChanged(AssertionError):
    """A test has changed a pact, which its provider verifies only once it is committed."""


class ConsumerPact(Pact):
    """What one test needs of a provider: Pact's own interface, and events."""

    def __init__(self, consumer: str, provider: str) -> None:
        super().__init__(consumer, provider)
        self.with_specification("V4")
        self.played = False

    def serve(self, addr: str = "127.0.0.1", *args: Any, **options: Any) -> PactServer:
        """Play the provider at `.url`; on leaving, every interaction must have been called as it says."""
        self.played = True
        return super().serve(addr, *args, **options)

    def event(self, description: str, type_: str, data: Json, *, states: str | None = None) -> ReceivedEvent:
        """Need an event with such data (examples and matchers), and give one for the real handler.

        `states` is the provider state in which it is published.
        """
        self.played = True
        interaction = self.upon_receiving(description, "Async")
        if states:
            interaction.given(states)
        interaction.with_body(data, "application/json").with_metadata({"type": type_})
        return ReceivedEvent(
            id=uuid4(),
            type=type_,
            source=f"acme/{self.provider}",
            subject=USER,
            time=datetime.now(UTC),
            tenant_id=TENANT,
            data=orjson.loads(contents_of(self, description)),
        )


def contents_of(pact: Pact, description: str) -> str:
    """Return the example of a message, its matchers filled in."""
    [contents] = [one.contents for one in pact.interactions("Async") if one.description == description]
    assert contents is not None
    return str(contents.contents)


@contextmanager
def consumer_pact(consumer: str, provider: str, *, root: Path = ROOT) -> Iterator[ConsumerPact]:
    """Play a consumer's needs, and write them into its pact with the provider if the block ends well.

    For use in the test itself: a fixture would not hear of the test's failure. Needs of other tests stay in
    the file, which changes only when a need does.

    Raises:
        PactChanged: The file has changed; the same test passes after it.

    """
    pact = ConsumerPact(consumer, provider)
    yield pact
    assert pact.played, "nothing was played: call pact.serve() or pact.event()"
    path = root / "services" / consumer / "contract" / "pacts" / f"{consumer}-{provider}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, locked(path.parent):
        pact.write_file(folder, overwrite=True)
        text = merge(path, json.loads((Path(folder) / path.name).read_text()))
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            raise PactChanged(f"{path} was out of date and is written: commit it")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against the other workers of a test run."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def merge(path: Path, new: Json) -> str:
    """Write a pact down, with the needs that other tests have put there; always in the same way."""
    existing = json.loads(path.read_text())["interactions"] if path.exists() else []
    needs = {identity(one): one for one in [*existing, *new["interactions"]]}
    document = {
        "consumer": new["consumer"],
        "provider": new["provider"],
        "interactions": [needs[name] for name in sorted(needs)],
        # The versions of Pact's parts are left out: an update would change every file.
        "metadata": {"pactSpecification": {"version": "4.0"}},
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def identity(interaction: Json) -> tuple[str, str, str]:
    """Return what identifies an interaction for Pact."""
    states = json.dumps(interaction.get("providerStates", []), sort_keys=True)
    return interaction["type"], interaction["description"], states


def unused_interactions(root: Path = ROOT) -> list[str]:
    """List, in sentences, the needs in pacts that no test of their consumer plays any more.

    A test names a need in one string, so a need that is named nowhere has lost its test.
    """
    unused = []
    for path in sorted(root.glob("services/*/contract/pacts/*.json")):
        pact = json.loads(path.read_text())
        tests = (root / "services" / pact["consumer"]["name"] / "tests").rglob("*.py")
        source = "\n".join(test.read_text() for test in tests)
        described = {one["description"] for one in pact["interactions"]}
        # A consumer from outside keeps its tests elsewhere.
        unnamed = sorted(one for one in described if source and one not in source)
        unused += [f"{path.relative_to(root)}: no test needs {one!r} any more" for one in unnamed]
    return unused

"""A tiny consumer and a tiny provider: the pact between them is kept, and a broken promise is noticed."""

import json
from contextlib import aclosing
from typing import Annotated, ClassVar
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter
from pact import match
from pact.error import MismatchesError
from pydantic import BaseModel
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, require
from servicekit.auth.tokens import Principal
from servicekit.events.outbox import Event
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceClient
from servicekit.settings import ServiceSettings
from testkit.pact_provider import pacts_of_provider, verify_provider
from testkit.pacts import (
    ON_BEHALF_OF,
    TENANT,
    USER,
    PactChanged,
    consumer_pact,
    machine,
    person,
    service_tokens,
)

SHELF: dict[str, dict[str, object]] = {}


class Borrowed(Event):
    """A book has been borrowed."""

    type: ClassVar[str] = "library.book.borrowed.v1"

    book_id: UUID
    title: str


BOOK = UUID("b0000000-0000-4000-8000-000000000001")


@pytest.fixture
def library(issuer):
    """The provider, and a way to break it."""
    SHELF.clear()
    broken: dict[str, object] = {}
    inside, public = APIRouter(prefix="/internal/v1"), APIRouter(prefix="/api/v1")

    @inside.get("/books/{book_id}")
    async def book(
        book_id: UUID, caller: Annotated[Principal, on_behalf_of("tools:read")]
    ) -> dict[str, object]:
        assert (caller.tenant_id, caller.subject) == (TENANT, USER)
        return {**SHELF[str(book_id)], **broken}

    @public.get("/books")
    async def books(caller: Annotated[Principal, require("tools:read")]) -> list[str]:
        assert str(caller.role) == "viewer"
        return [] if broken else list(SHELF)

    settings = ServiceSettings(
        environment="test",
        debug=True,
        logging_sink="none",
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1/0",
        auth_issuer=issuer.issuer,
        auth_jwks_url=issuer.jwks_url,
    )
    app = create_service("library", settings, routers=[public], internal=[inside])
    app.state.broken = broken
    return app


async def a_book(kit, title="Emma"):
    SHELF[str(BOOK)] = {"book_id": str(BOOK), "title": title, "pages": 474}


async def borrowed(kit):
    return Borrowed(book_id=BOOK, title="Emma")


def verify(app, issuer, root, **parts):
    options = {"states": {"a book": a_book}, "events": {Borrowed.type: borrowed}, **parts}
    return verify_provider(app, issuer, root=root, **options)


async def read_a_book(root, title="Emma", scope="tools:read"):
    """The consumer's test of its real client."""
    with consumer_pact("reader", "library", root=root) as pact:
        (
            pact.upon_receiving("a request for a book")
            .given("a book", title=title)
            .with_request("GET", f"/internal/v1/books/{BOOK}")
            .with_header("Authorization", machine("reader", "library", scope))
            .with_header("Acme-On-Behalf-Of", ON_BEHALF_OF)
            .will_respond_with(200)
            .with_body({"title": title, "pages": match.int(1)}, "application/json")
        )
        with pact.serve() as server:
            async with aclosing(HttpPool()) as http:
                client = ServiceClient(http, service_tokens("reader"), str(server.url), "library", scope)
                answer = await client.request("GET", f"/books/{BOOK}", on_behalf_of=(TENANT, USER))
        assert answer.json() == {"title": title, "pages": 1}


async def list_books(root):
    with consumer_pact("reader", "library", root=root) as pact:
        (
            pact.upon_receiving("a request for all books")
            .given("a book")
            .with_request("GET", "/api/v1/books")
            .with_header("Authorization", person("viewer"))
            .will_respond_with(200)
            .with_body(match.each_like(match.str("x"), min=1), "application/json")
        )
        with pact.serve() as server:
            async with httpx.AsyncClient(headers={"Authorization": person("viewer")}, timeout=60) as http:
                answer = await http.get(f"{server.url}/api/v1/books")
        assert answer.json() == ["x"]


async def consume_a_loan(root):
    class Loan(BaseModel):
        book_id: UUID

    with consumer_pact("reader", "library", root=root) as pact:
        event = pact.event(
            "a loan",
            Borrowed.type,
            {"book_id": match.uuid(str(BOOK)), "title": match.str("Emma")},
            states="a book",
        )
        assert Loan.model_validate(event.data).book_id == BOOK
        assert (event.type, event.tenant_id, event.source) == (Borrowed.type, TENANT, "acme/library")


def written(root):
    return root / "services/reader/contract/pacts/reader-library.json"


@pytest.fixture
async def pact(tmp_path):
    for need in (read_a_book, list_books, consume_a_loan):
        with pytest.raises(PactChanged):
            await need(tmp_path)
    return tmp_path


async def test_a_provider_that_keeps_the_pact_is_verified(pact, library, issuer):
    assert verify(library, issuer, pact) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"title": "Persuasion"}, "title"), ({"pages": "many"}, "pages"), ({"pages": None}, "pages")],
)
async def test_a_provider_that_answers_otherwise_is_not(pact, library, issuer, change, complaint):
    library.state.broken.update(change)

    with pytest.raises(AssertionError, match=complaint):
        verify(library, issuer, pact)


async def test_a_provider_that_tells_another_event_is_not(pact, library, issuer):
    class Elsewhere(Borrowed):
        type: ClassVar[str] = "library.book.borrowed.v2"

    class Untitled(Event):
        type: ClassVar[str] = Borrowed.type

        book_id: UUID = BOOK

    async def of_another_type(kit):
        return Elsewhere(book_id=BOOK, title="Emma")

    async def without_a_title(kit):
        return Untitled()

    for result, complaint in ((of_another_type, "library.book.borrowed.v1"), (without_a_title, "title")):
        with pytest.raises(AssertionError, match=complaint):
            verify(library, issuer, pact, events={Borrowed.type: result})


async def test_a_need_has_the_scope_that_its_client_has_requested(tmp_path, library, issuer):
    with pytest.raises(PactChanged):
        await read_a_book(tmp_path, scope="billing:read")

    with pytest.raises(AssertionError, match="403"):
        verify(library, issuer, tmp_path)


async def test_a_state_that_nobody_makes_is_named(pact, library, issuer):
    with pytest.raises(AssertionError, match="does not know: a book"):
        verify(library, issuer, pact, states={})


async def test_a_state_that_fails_fails_the_verification(pact, library, issuer):
    async def lost(kit, **_):
        raise LookupError("the shelf is gone")

    with pytest.raises(AssertionError):
        verify(library, issuer, pact, states={"a book": lost})


async def test_an_event_that_is_not_published_fails_the_verification(pact, library, issuer):
    with pytest.raises(AssertionError, match="a loan"):
        verify(library, issuer, pact, events={})


async def test_what_is_not_verified_does_not_count_as_fulfilled(tmp_path, library, issuer):
    with pytest.raises(AssertionError, match="no pact names library"):
        verify(library, issuer, tmp_path)


async def test_begins_each_interaction_anew(pact, library, issuer):
    shelves = []
    verify(library, issuer, pact, reset=lambda: shelves.append(dict(SHELF)) or SHELF.clear())

    assert len(shelves) == 2
    assert all(shelves)


async def test_a_pact_is_written_alike_however_often_and_in_whatever_order(pact):
    first = written(pact).read_bytes()
    for need in (consume_a_loan, list_books, read_a_book):
        await need(pact)

    assert written(pact).read_bytes() == first
    assert "pactRust" not in first.decode()
    descriptions = [one["description"] for one in json.loads(first)["interactions"]]
    assert descriptions == ["a loan", "a request for a book", "a request for all books"]
    assert list(pacts_of_provider("library", pact)) == [written(pact)]
    assert pacts_of_provider("museum", pact) == {}


async def ask_elsewhere(root):
    with consumer_pact("reader", "library", root=root) as pact:
        pact.upon_receiving("a request").with_request("GET", "/").will_respond_with(200)
        with pact.serve() as server:
            async with httpx.AsyncClient(timeout=60) as http:
                await http.get(f"{server.url}/elsewhere")


async def ask_nothing(root):
    with consumer_pact("reader", "library", root=root) as pact:
        pact.upon_receiving("a request").with_request("GET", "/").will_respond_with(200)


async def test_a_need_of_a_failing_test_is_not_written(tmp_path):
    with pytest.raises(MismatchesError):
        await ask_elsewhere(tmp_path)
    with pytest.raises(AssertionError, match="nothing was played"):
        await ask_nothing(tmp_path)

    assert not written(tmp_path).exists()


async def test_a_change_is_written_and_fails_once(pact):
    await read_a_book(pact)

    with pytest.raises(PactChanged, match="commit it"):
        await read_a_book(pact, title="Persuasion")
    await read_a_book(pact, title="Persuasion")

"""A service that keeps to its documents passes; each way of not doing so is found."""

from collections import Counter
from typing import Annotated
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, require
from servicekit.schemas import RequestModel
from servicekit.settings import ServiceSettings
from testkit.contracts import assert_answers_as_documented, live_service, operations, operations_of


class Book(RequestModel):
    title: Annotated[str, Query(max_length=20)]
    pages: int = 1


class Shelf(BaseModel):
    books: list[str]


@pytest.fixture
def library(issuer):
    """The service, and a way to have it answer otherwise."""
    public = APIRouter(prefix="/api/v1", dependencies=[require("tools:read")])
    inside = APIRouter(prefix="/internal/v1", dependencies=[on_behalf_of("tools:read")])
    answers: Counter[str] = Counter()
    shelves: set[UUID] = set()

    def answered(what):
        answers[what] += 1
        return app.state.otherwise() if app.state.otherwise else Shelf(books=[what])

    @public.get("/shelves", response_model=Shelf)
    async def first_shelf():
        return answered("first")

    @public.post("/shelves")
    async def build() -> UUID:
        shelves.add(shelf := uuid4())
        return shelf

    @public.get("/shelves/{shelf_id}", response_model=Shelf)
    async def one_shelf(shelf_id: UUID, page: Annotated[int, Query(ge=1)] = 1):
        return answered("known" if shelf_id in shelves else "unknown")

    @inside.post("/books", response_model=Shelf)
    async def add(book: Book):
        return answered("added")

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
    app.state.otherwise = None
    app.state.answers = answers
    return app


def named(app, label):
    documents = (app.openapi(), app.state.internal.openapi())
    [found] = [one for document in documents for one in operations_of(document) if one.label == label]
    return found


def assert_answers(app, operation, issuer, **options):
    with live_service(app) as service:
        assert_answers_as_documented(operation, service, issuer, **options)


LABELS = ["GET /api/v1/shelves", "GET /api/v1/shelves/{shelf_id}", "POST /internal/v1/books"]


@pytest.mark.parametrize("label", LABELS)
def test_a_service_that_keeps_to_its_documents_passes(library, issuer, label):
    assert_answers(library, named(library, label), issuer)

    assert library.state.answers.total() > 0


OTHERWISE = {
    "a crash": lambda: 1 / 0,
    "an error of its own": lambda: JSONResponse({"detail": "no"}, status_code=503),
    "another body": lambda: JSONResponse({"books": [1]}),
    "a body without a field": lambda: JSONResponse({}),
    "another media type": lambda: Response("books", media_type="text/plain"),
    "another status": lambda: JSONResponse({"books": []}, status_code=202),
    "a problem that is none": lambda: JSONResponse(
        {}, status_code=404, media_type="application/problem+json"
    ),
}


@pytest.mark.parametrize("otherwise", OTHERWISE)
@pytest.mark.parametrize("label", LABELS)
def test_an_answer_that_is_not_as_described_is_found(library, issuer, label, otherwise):
    library.state.otherwise = OTHERWISE[otherwise]

    with pytest.raises(BaseExceptionGroup):
        assert_answers(library, named(library, label), issuer)


def test_a_request_that_does_not_fit_must_be_refused(library, issuer):
    operation = named(library, "POST /internal/v1/books")
    library.state.internal.router.routes.clear()

    @library.state.internal.post("/internal/v1/books", dependencies=[on_behalf_of("tools:read")])
    async def take_anything() -> Shelf:
        return Shelf(books=[])

    with pytest.raises(BaseExceptionGroup, match="should have been rejected"):
        assert_answers(library, operation, issuer)


def test_asks_for_what_exists_as_well(library, issuer):
    def a_shelf(person):
        return {"shelf_id": person.post("/api/v1/shelves").json()}

    assert_answers(library, named(library, "GET /api/v1/shelves/{shelf_id}"), issuer, make_resources=a_shelf)

    assert library.state.answers["known"] >= 3
    assert library.state.answers["unknown"] >= 3


def test_lists_the_operations_of_both_documents_less_those_left_out():
    left_out = "POST /api/v1/conversations"
    listed = {one.id for one in operations("conversation", without=[left_out])}

    assert {"GET /api/v1/conversations", "GET /internal/v1/search"} <= listed
    assert left_out not in listed
    assert not any("healthz" in label for label in listed)
    with pytest.raises(AssertionError, match="has no GET /nowhere"):
        operations("conversation", without=["GET /nowhere"])

"""What finds that a token of the wrong kind is let in must be able to find it."""

from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, public, require
from servicekit.auth.tokens import Principal
from servicekit.settings import ServiceSettings
from testkit.app import running
from testkit.token_matrix import find_violations, protected_routes, token_kinds

outside, inside = APIRouter(), APIRouter()


@outside.get("/things/{thing_id}")
async def read(caller: Annotated[Principal, require("tools:read")]) -> str:
    return caller.subject


@outside.get("/open", dependencies=[public])
async def open_to_all() -> None: ...


@inside.post("/internal/v1/things", include_in_schema=False)
async def make(caller: Annotated[Principal, on_behalf_of("conversations:write")]) -> str:
    return caller.subject


@pytest.fixture
def settings(databases, common_settings, auth_url):
    return ServiceSettings(
        **common_settings,
        database_url=databases.fresh("things"),
        auth_internal_url=auth_url,
        service_client_secret="of these tests",
    )


@pytest.fixture
async def app(settings):
    async with running(create_service("things", settings, routers=[outside], internal=[inside])) as app:
        yield app


async def test_finds_every_route_that_takes_a_token_and_no_other(app: FastAPI):
    assert [place.path for place in protected_routes(app)] == ["/things/{thing_id}"]
    assert [place.path for place in protected_routes(app.state.internal, is_internal=True)] == [
        "/internal/v1/things"
    ]


async def test_finds_nothing_where_all_is_well(app, issuer):
    assert await find_violations(app, token_kinds(app, issuer)) == []


async def test_finds_what_is_let_in_or_shut_out_by_mistake(app, issuer):
    brought = {kind.name: kind for kind in token_kinds(app, issuer)}
    wrong = [
        brought["access token"]._replace(public=(401, "invalid_token")),
        brought["challenge"]._replace(internal=None),
    ]
    assert await find_violations(app, wrong) == [
        "access token: GET /things/{thing_id} 200 ",
        "challenge: POST /internal/v1/things 401 invalid_token",
    ]

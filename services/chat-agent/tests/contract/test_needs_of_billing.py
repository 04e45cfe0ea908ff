"""What the chat-agent needs of billing-webhook, played with its real client, and so written down."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

import pytest
from chat_agent.clients.billing import SCOPE, BillingClient, RequestLimits, RunRef
from chat_agent.errors import QuotaExceeded
from pact import match
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceClient
from testkit.pacts import TENANT, USER, consumer_pact, machine, service_tokens

RUN = RunRef(TENANT, UUID("a0000000-0000-4000-8000-000000000001"), USER, "triage")
RESERVATIONS = f"/internal/v1/tenants/{TENANT}/reservations/{RUN.id}/calls"
BEARER = machine("chat-agent", "billing-webhook", SCOPE)
MOMENT = match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$")
AMOUNT = match.regex("120", regex=r"^\d+(\.\d+)?$")
MODEL = "sandbox-large"
START = {
    "user_id": USER,
    "api_key_id": None,
    "agent": "triage",
    "model": MODEL,
    "messages": 1,
    "input_tokens": 0,
    "output_tokens": 0,
}
CALL = {**START, "messages": 0, "input_tokens": 500, "output_tokens": 1024}
QUOTA = {
    "feature": match.str("messages"),
    "scope": match.str("tenant"),
    "limit": AMOUNT,
    "used": AMOUNT,
    "resets_at": MOMENT,
}


@asynccontextmanager
async def billing(url: str) -> AsyncIterator[BillingClient]:
    async with aclosing(HttpPool()) as http:
        client = ServiceClient(http, service_tokens("chat-agent"), url, "billing-webhook", SCOPE)
        yield BillingClient(client, timeout_seconds=60)


def request(pact, what: str, given: str, method: str, path: str):
    described = pact.upon_receiving(what).given(given)
    return described.with_request(method, path).with_header("Authorization", BEARER)


async def test_asks_whether_a_tenant_has_limits() -> None:
    path = f"/internal/v1/tenants/{TENANT}/limits"
    sizes = {"message_characters": match.int(200_000), "attachment_bytes": match.int(1024)}
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        request(pact, "whether a tenant has limits", "a tenant with a budget", "GET", path).will_respond_with(
            200
        ).with_body({"has_limits": True, "requests": sizes}, "application/json")
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                limits = await mine.limits_of(TENANT)
        assert limits.has_limits
        assert limits.requests == RequestLimits(message_characters=200_000, attachment_bytes=1024)


async def test_reserves_a_call_of_a_model() -> None:
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        request(
            pact, "a call to be reserved", "a tenant with a budget", "PUT", f"{RESERVATIONS}/1.1"
        ).with_body(CALL, "application/json").will_respond_with(200).with_body(
            {"warnings": []}, "application/json"
        )
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                assert await mine.reserve(RUN, "1.1", MODEL, input_tokens=500, output_tokens=1024) == []


async def test_reserves_a_call_with_a_key_of_the_tenants_own() -> None:
    own = {**CALL, "own_key": True}
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        request(
            pact,
            "a call with an own key to be reserved",
            "a tenant with a budget",
            "PUT",
            f"{RESERVATIONS}/1.2",
        ).with_body(own, "application/json").will_respond_with(200).with_body(
            {"warnings": []}, "application/json"
        )
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                amounts = {"input_tokens": 500, "output_tokens": 1024}
                assert await mine.reserve(RUN, "1.2", MODEL, is_own_key=True, **amounts) == []


async def test_hears_of_soft_limits() -> None:
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        given = "a tenant with a soft budget that is exceeded"
        request(pact, "a run that exceeds a soft limit", given, "PUT", f"{RESERVATIONS}/start").with_body(
            START, "application/json"
        ).will_respond_with(200).with_body({"warnings": match.each_like(QUOTA, min=1)}, "application/json")
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                [warning] = await mine.reserve(RUN, "start", MODEL, messages=1)
    assert (warning.feature, warning.limit) == ("messages", "120")


async def test_hears_that_a_limit_is_reached() -> None:
    problem = {
        "code": "quota_exceeded",
        **QUOTA,
        "reserved": AMOUNT,
        "requested": AMOUNT,
    }
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        given = "a tenant with a daily budget that is used up"
        request(pact, "a run that exceeds a limit", given, "PUT", f"{RESERVATIONS}/start").with_body(
            START, "application/json"
        ).will_respond_with(429).with_body(problem, "application/problem+json")
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                with pytest.raises(QuotaExceeded) as refusal:
                    await mine.reserve(RUN, "start", MODEL, messages=1)
    assert refusal.value.extensions["limit"] == "120"


async def test_settles_a_call() -> None:
    used = {"input_tokens": 480, "output_tokens": 20}
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        request(
            pact, "a call to be settled", "a call that is reserved", "POST", f"{RESERVATIONS}/1.1/settle"
        ).with_body(used, "application/json").will_respond_with(200)
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                await mine.settle(RUN, "1.1", **used)


async def test_releases_a_run_that_has_not_started() -> None:
    nothing = {"messages": 0, "input_tokens": 0, "output_tokens": 0}
    path = f"{RESERVATIONS}/start/settle"
    with consumer_pact("chat-agent", "billing-webhook") as pact:
        request(pact, "a start to be released", "no reservation", "POST", path).with_body(
            nothing, "application/json"
        ).will_respond_with(200)
        with pact.serve() as server:
            async with billing(str(server.url)) as mine:
                await mine.settle(RUN, "start", **nothing)

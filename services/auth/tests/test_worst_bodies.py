"""The worst bodies that a client can send, brought to every route."""

from auth.configuration.limits import RATE_LIMITS
from testkit.request_costs import Callers, costs, costs_table, find_uncounted_routes
from testkit.worst_bodies import all_routes_with_body, find_unbounded

SCOPES = ["api_keys:introspect", "members:read", "owners:read"]


async def callers(service):
    ours = await service.app.state.services.access_tokens.for_service("chat-agent", "auth", SCOPES)
    return Callers((await service.somebody())["access_token"], ours.token)


UNLIMITED = {"auth_rate_limits": dict.fromkeys(RATE_LIMITS, 1_000_000)}


async def test_no_body_costs_much(auth, start):
    service = await start(**UNLIMITED)
    assert len(all_routes_with_body(service.app)) > 30
    figures = [cost async for cost in costs(service.app, await callers(service))]
    assert [cost for cost in figures if cost.excess] == [], "\n".join(costs_table(figures))


async def test_every_list_mapping_and_text_has_a_maximum(auth):
    assert find_unbounded(auth.app) == []


async def test_invalid_bodies_are_counted(auth, start):
    service = await start(**UNLIMITED, invalid_requests_per_minute=3)
    assert await find_uncounted_routes(service.app, await callers(service), 3) == []

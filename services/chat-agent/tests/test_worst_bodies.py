"""The worst bodies that a client can send, brought to every route."""

import json

import pytest
from chat_agent.main import create_app
from servicekit.request_limits import LARGE_BODY
from testkit.app import running
from testkit.machine_speed import exceeds
from testkit.request_costs import (
    Cost,
    Share,
    callers_of,
    costs,
    costs_table,
    find_uncounted_routes,
    measure_request,
)
from testkit.worst_bodies import all_routes_with_body, find_unbounded

# Bodies with a few unknown members are answered, some as streams.
LIMITS = dict.fromkeys(
    (
        "chat_rate_limit_per_minute",
        "chat_tenant_rate_limit_per_minute",
        "chat_stream_rate_limit_per_minute",
        "chat_stream_concurrent_limit",
        "chat_tenant_stream_rate_limit_per_minute",
        "chat_tenant_stream_concurrent_limit",
    ),
    1_000_000,
)
# Minutes of work for one test: the workers of a run share it.
SHARES = [
    pytest.param(Share(number, 8), id=f"share {number}", marks=pytest.mark.xdist_group(f"bodies {number}"))
    for number in range(8)
]
CALLS = {"chat_limits": {"writes_per_person": 1_000_000, "writes_per_tenant": 1_000_000}}


def changed(settings, **values):
    return settings.model_validate(
        {**settings.model_dump(), "run_workers": False, **LIMITS, **CALLS, **values}
    )


@pytest.mark.parametrize("share", SHARES)
async def test_no_body_costs_much(settings, issuer, share):
    async with running(create_app(changed(settings))) as app:
        assert len(all_routes_with_body(app)) >= 4
        matches = [cost async for cost in costs(app, callers_of(issuer, app), LARGE_BODY, share)]
        assert matches
        assert [cost for cost in matches if cost.excess] == [], "\n".join(costs_table(matches))


async def test_every_list_mapping_and_text_has_a_maximum(settings):
    assert find_unbounded(create_app(settings)) == []


async def test_invalid_bodies_are_counted(settings, issuer):
    async with running(create_app(changed(settings, invalid_requests_per_minute=3))) as app:
        assert await find_uncounted_routes(app, callers_of(issuer, app), 3) == []


async def test_a_million_characters_that_fit_are_read_in_a_moment(settings, issuer):
    text = "All of this was said before, in words, with commas. " * 1150
    texts = [{"role": "user", "content": text}] * 16 + [{"role": "user", "content": "Hello"}]
    ui = [
        {"id": str(number), "role": one["role"], "parts": [{"type": "text", "text": one["content"]}]}
        for number, one in enumerate(texts)
    ]
    thread = {"threadId": "t", "runId": "r", "messages": [{"id": "m", **one} for one in texts]}
    bodies = {
        "/v1/chat/completions": {"model": "nobody", "messages": texts},
        "/v1/responses": {"model": "nobody", "input": texts},
        "/api/v1/chat/ui": {"id": "c", "agent_type": "nobody", "messages": ui},
        "/api/v1/agents/{name}/ag-ui": thread,
    }
    async with running(create_app(changed(settings))) as app:
        routes = {route.path: route for route in all_routes_with_body(app)}
        for path, body in bodies.items():
            route, content = routes[path], json.dumps(body).encode()
            assert 950_000 < len(content) < route.limit
            async with callers_of(issuer, app).client(
                route, **{"Content-Type": "application/json"}
            ) as sender:
                await measure_request(cost := Cost(path, "all that fits", "top"), sender, route, content)
            # An agent that nobody knows: everything else was right.
            assert cost.status == 404, cost
            assert not exceeds(cost.milliseconds, 50), cost

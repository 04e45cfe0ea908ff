"""The worst bodies that a client can send, brought to every route."""

import json
import time
from uuid import uuid4

import pytest
from chat_agent.main import create_app
from chat_agent.mcp_servers.client import MAX_TOOLS
from chat_agent.mcp_servers.server_tools import MAX_SCHEMA, ServerTool
from servicekit.request_limits import LARGE_BODY
from testkit.app import running
from testkit.machine_speed import exceeds
from testkit.request_costs import (
    ATTEMPTS,
    MAX_MEGABYTES,
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
# Each took seconds to compile: many patterns, a large one, and one that is long for its parser.
PATTERNS = {
    "many": [f"^[a-z]+{number}$" for number in range(1500)],
    "many large": [rf"\p{{L}}{{1,100}}{number}" for number in range(1500)],
    "as many as may be": [rf"\s\s\s\s\s{number}" for number in range(99)],
    "one of classes": [r"\S" * 10_000],
    "one without regard to case": ["(?i)" + "[b-\U00010000]" * 3000],
    "as large as may be": [r"\p{L}{1,50}"],
}
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


def schema_of(patterns, **more):
    properties = {f"p{number}": {"pattern": pattern} for number, pattern in enumerate(patterns)}
    return {"type": "object", "properties": {**properties, **more}}


def function(schema, number=0):
    return {"name": f"f{number}", "parameters": schema}


def bodies_with(schema):
    """Make bodies that are refused at the end: of an answer not strict, of tools the last one is wrong."""
    ask = {"model": "triage", "messages": [{"role": "user", "content": "Hi"}]}
    response = {"model": "triage", "input": "Hi"}
    answer = {"name": "a", "schema": schema, "strict": True}
    tools = [*(function(schema, number) for number in range(3)), function({"type": "thing"}, 3)]
    ui = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    yield "/v1/chat/completions", {**ask, "response_format": {"type": "json_schema", "json_schema": answer}}
    yield "/v1/chat/completions", {**ask, "tools": [{"type": "function", "function": one} for one in tools]}
    yield "/v1/responses", {**response, "text": {"format": {"type": "json_schema", **answer}}}
    yield "/v1/responses", {**response, "tools": [{"type": "function", **one} for one in tools]}
    thread = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "Hi"}]}
    yield "/api/v1/agents/{name}/ag-ui", {**thread, "tools": tools}
    yield "/api/v1/chat/ui", {"id": str(uuid4()), "agent_type": "triage", "messages": ui, "tools": tools}
    definition = {"instructions": "Help.", "output_schema": schema}
    yield "/api/v1/agents/{name}/validate", {"definition": definition}
    endpoint = {"url": "https://orders.example.com/v2", "parameters": schema}
    fixed = dict.fromkeys([*schema["properties"]][:50], 1)
    tool = {"description": "Read.", "endpoint": endpoint, "approval": schema, "fixed_arguments": fixed}
    yield "/api/v1/tools/{name}", {**tool, "headers": {"Host": "x"}}


@pytest.mark.parametrize("patterns", PATTERNS.values(), ids=PATTERNS.keys())
async def test_no_pattern_of_a_schema_costs_much(settings, issuer, patterns):
    async with running(create_app(changed(settings))) as app:
        routes = {route.path: route for route in all_routes_with_body(app) if route.method in {"POST", "PUT"}}
        for path, body in bodies_with(schema_of(patterns)):
            route = routes[path]
            name = "triage" if path.endswith("ag-ui") else "support"
            route = route._replace(path=path.replace("{name}", name))
            headers = {"Content-Type": "application/json"}
            async with callers_of(issuer, app).client(route, **headers) as sender:
                for _ in range(ATTEMPTS):
                    cost = Cost(path, str([*body]), "top")
                    await measure_request(cost, sender, route, json.dumps(body).encode())
                    if not cost.is_slow:
                        break
            assert not cost.is_slow, cost
            assert cost.megabytes < MAX_MEGABYTES
            # `validate` answers what is wrong.
            assert cost.status in {200, 400, 422}, cost


@pytest.mark.parametrize("patterns", PATTERNS.values(), ids=PATTERNS.keys())
def test_no_list_of_mcp_tools_costs_much(patterns):
    tool = {"name": "a", "inputSchema": schema_of(patterns[:500])}
    start = time.thread_time()
    problems = {ServerTool.read(tool).problem for _ in range(MAX_TOOLS)}
    milliseconds = (time.thread_time() - start) * 1000
    assert problems <= {None, f"Its schema has more than {MAX_SCHEMA} bytes."}
    assert not exceeds(milliseconds, 500)

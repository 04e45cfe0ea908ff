"""HTTP tools of a tenant: registered, refused, versioned, and called by its agents."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import httpx
import httpx2
import pytest
from chat_agent.clients.public_http import create_client
from chat_agent.errors import ToolFailed
from chat_agent.http_tools.call import HttpCall
from chat_agent.http_tools.definition import HttpTool
from chat_agent.http_tools.request import build_request
from chat_agent.settings import Settings
from testkit.eventually import until
from testkit.supplied_urls import WHERE_CALLED, refused

from .client_helpers import (
    RUNS,
    cancel_run,
    error_of,
    payloads_of,
    read_events,
    start_run,
    wait_until_finished,
)
from .tenant_server import TOOLS, TenantServer, order_tool, save_tool, tenant_server, tool_problems
from .test_agent_definitions import AGENTS, definition, problems, publish, published, save

Person = Callable[..., httpx.Client]
Json = dict[str, Any]
READ = "Read order_id=A-7 [sandbox: call=read_order]"


@pytest.fixture(scope="module")
def server() -> Iterator[TenantServer]:
    with tenant_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _forget(server: TenantServer) -> None:
    server.requests.clear()
    server.failures.clear()


@pytest.fixture(scope="module")
def settings(settings: Settings, server: TenantServer) -> Settings:
    return settings.model_copy(update={"tool_private_hosts": frozenset({urlsplit(server.url).netloc})})


def get_tool(url: str, path: str, **members: Any) -> Json:
    """Return the document of a tool without arguments."""
    return {"description": "Read.", "endpoint": {"url": f"{url}{path}"}, **members}


def called(client: httpx.Client, message: str = READ, agent: str = "support") -> tuple[Json, Json]:
    """Run an agent that calls a tool once; return the output in the stream, and the row of the call."""
    run = start_run(client, message, agent_type=agent)
    events = read_events(client, run)
    assert events[-1].type == "run.completed", events[-1]
    (output,) = payloads_of(events, "tool.output")
    (row,) = client.get(f"{RUNS}/{run['id']}/tool-calls").json()
    return output, row


def call_new_tool(admin: httpx.Client, member: httpx.Client, document: Json, message: str = READ) -> Json:
    """Register a tool, call it by an agent, and return the output in the stream."""
    save_tool(admin, "read_order", document)
    published(admin, "support", tools=[{"name": "read_order"}])
    return called(member, message)[0]


def test_a_tool_is_registered_read_listed_and_deleted(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    tool = save_tool(admin, "read_order", order_tool(server.url, trusted=True))
    assert (tool["name"], tool["version"]) == ("read_order", 1)
    assert tool["definition"] == order_tool(server.url, trusted=True)
    assert tool["model_schema"]["properties"].keys() == {"order_id", "expand"}
    assert admin.get(f"{TOOLS}/read_order").json() == tool
    (own,) = member.get(TOOLS).json()["own_tools"]
    assert own == {"name": "read_order", "description": "Read an order.", "version": 1, "trusted": True}
    assert save_tool(admin, "read_order", order_tool(server.url, trusted=True)) == tool
    assert save_tool(admin, "read_order", order_tool(server.url, timeout_seconds=60))["version"] == 2
    assert admin.delete(f"{TOOLS}/read_order").status_code == 204
    assert error_of(admin.get(f"{TOOLS}/read_order")) == (404, "tool_not_found")
    assert error_of(admin.delete(f"{TOOLS}/read_order")) == (404, "tool_not_found")
    assert member.get(TOOLS).json()["own_tools"] == []
    assert save_tool(admin, "read_order", order_tool(server.url))["version"] == 3


def test_a_tool_is_its_tenants_alone(
    admin: httpx.Client, member: httpx.Client, person: Person, server: TenantServer
) -> None:
    save_tool(admin, "read_order", order_tool(server.url))
    stranger = person(uuid4(), role="admin")
    assert error_of(stranger.get(f"{TOOLS}/read_order")) == (404, "tool_not_found")
    assert stranger.get(TOOLS).json()["own_tools"] == []
    assert "tools[0].name" in problems(stranger, "support", tools=[{"name": "read_order"}])
    assert save_tool(stranger, "read_order", order_tool(server.url))["version"] == 1
    for response in (
        member.get(f"{TOOLS}/read_order"),
        member.put(f"{TOOLS}/read_order", json=order_tool(server.url)),
        member.delete(f"{TOOLS}/read_order"),
    ):
        assert response.status_code == 403


@pytest.mark.parametrize("name", ["current_time", "ask_clerk", "transfer_to_clerk"])
def test_names_of_the_service_are_taken(admin: httpx.Client, server: TenantServer, name: str) -> None:
    response = admin.put(f"{TOOLS}/{name}", json=order_tool(server.url))
    assert error_of(response) == (409, "tool_already_exists")


def test_the_tool_that_notes_memories_has_its_name_alone(admin: httpx.Client, server: TenantServer) -> None:
    save_tool(admin, "remember", order_tool(server.url))
    tools = [{"name": "current_time"}, {"name": "remember"}]
    assert problems(admin, "support", tools=tools, memory={"read": True}) == {}
    faults = problems(admin, "support", tools=tools, memory={"write": True})
    assert faults == {"tools[1].name": "There is more than one tool called 'remember'."}
    save(admin, "support", tools=tools, memory={"write": True})
    response = admin.post(f"{AGENTS}/support/publish", json={})
    assert error_of(response) == (422, "invalid_agent_definition")


@pytest.mark.parametrize("address", refused(WHERE_CALLED - {"plain"}))
async def test_a_call_reaches_no_address_that_is_not_public(address: str) -> None:
    # As if it had been registered.
    tool = HttpTool.model_validate({"description": "Read.", "endpoint": {"url": address}})
    async with create_client() as http:
        with pytest.raises((ToolFailed, httpx2.InvalidURL)):
            await HttpCall(tool).answer(http, build_request(http, tool, {}, {}))


@pytest.mark.parametrize(
    "address",
    [
        "https://orders.example.com/a b",
        "https://{host}.example.com/",
        "{scheme}://orders.example.com/",
        "https://orders.example.com/?key=1",
        "https://orders.example.com/#top",
        "https://orders.example.com/{order_id",
        "https://orders.example.com/{missing}",
    ],
)
def test_an_address_that_is_none_is_refused(admin: httpx.Client, address: str) -> None:
    assert "endpoint.url" in tool_problems(admin, {"description": "Read.", "endpoint": {"url": address}})


def changed(url: str, **members: Any) -> Json:
    """Return a tool with an endpoint that differs."""
    tool = order_tool(url)
    return {**tool, "endpoint": {**tool["endpoint"], **members}}


ORDER = {"order_id": {"type": "string"}}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"description": "x"}, "endpoint"),
        ({**order_tool("https://a.example"), "description": ""}, "description"),
        ({"description": "x", "openapi": {"openapi": "3.1.0"}}, "operation_id"),
        (changed("https://a.example", parameters={"type": "nonsense"}), "endpoint.parameters.type"),
        (
            changed("https://a.example", parameters={"properties": {"a": {"enum": 1}}}),
            "endpoint.parameters.properties.a.enum",
        ),
        (changed("https://a.example", parameters={"type": "array"}), "endpoint.parameters.type"),
        (
            changed("https://a.example", parameters={"$schema": "https://a.example/s", "properties": ORDER}),
            "endpoint.parameters",
        ),
        (
            changed(
                "https://a.example", parameters={"properties": {"order_id": {"$ref": "https://b.example"}}}
            ),
            "endpoint.parameters",
        ),
        (changed("https://a.example", parameters={"properties": ORDER}), "endpoint.parameters.required"),
        (changed("https://a.example", locations={"other": "query"}), "endpoint.locations.other"),
        (changed("https://a.example", locations={"expand": "body"}), "endpoint.parameters.properties.expand"),
        (changed("https://a.example", locations={"expand": "path"}), "endpoint.parameters.properties.expand"),
        (
            changed("https://a.example", locations={"expand": "header"}, names={"expand": "Host"}),
            "endpoint.parameters.properties.expand",
        ),
        (
            changed("https://a.example", locations={"expand": "header"}, names={"expand": "X-Api-Key"}),
            "endpoint.parameters.properties.expand",
        ),
        (
            changed("https://a.example", names={"expand": "access_token"}),
            "endpoint.parameters.properties.expand",
        ),
        (order_tool("https://a.example", approval={"type": "nonsense"}), "approval.type"),
        (order_tool("https://a.example", fixed_arguments={"other": 1}), "fixed_arguments.other"),
        (order_tool("https://a.example", fixed_arguments={"expand": 1}), "fixed_arguments.expand"),
        (order_tool("https://a.example", query={"expand": "1"}), "query.expand"),
        (order_tool("https://a.example", headers={"Host": "b.example"}), "headers.Host"),
        (order_tool("https://a.example", headers={"Authorization": "Bearer x"}), "headers.Authorization"),
        (
            order_tool("https://a.example", headers={"Authorization": {"secret": "gone"}}),
            "headers.Authorization",
        ),
        (order_tool("https://a.example", query={"api_key": "x"}), "query.api_key"),
        (order_tool("http://a.example", headers={"X-Key": {"secret": "orders_key"}}), "endpoint.url"),
    ],
)
def test_what_is_wrong_with_a_tool_is_named(admin: httpx.Client, document: Json, path: str) -> None:
    assert path in tool_problems(admin, document)


@pytest.mark.parametrize(
    "members",
    [
        {"timeout_seconds": 61},
        {"max_output": 50_001},
        {"approval": "sometimes"},
        {"audience": "nobody"},
        {"headers": {"X y": "z"}},
        {"headers": {"X-Y": "a\r\nb"}},
        {"headers": {"X-Y": {"secret": "A"}}},
        {"unknown": 1},
    ],
)
def test_members_that_are_none_are_refused(admin: httpx.Client, members: Json) -> None:
    response = admin.put(f"{TOOLS}/read_order", json=order_tool("https://a.example", **members))
    assert error_of(response) == (422, "invalid_request")


def test_a_tenant_has_a_maximum_of_tools(admin: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_agent.http_tools.store.MAX_TOOLS", 1)
    save_tool(admin, "read_order", order_tool("https://a.example"))
    save_tool(admin, "read_order", order_tool("https://b.example"))
    response = admin.put(f"{TOOLS}/another", json=order_tool("https://a.example"))
    assert error_of(response) == (409, "too_many_tools")


def test_an_agent_calls_a_tool(admin: httpx.Client, member: httpx.Client, server: TenantServer) -> None:
    save_tool(admin, "read_order", order_tool(server.url))
    published(admin, "support", tools=[{"name": "read_order"}])
    output, row = called(member, "Read order_id=A-7 expand=true [sandbox: call=read_order]")
    assert output["output"] == '{"id":"A-7","status":"shipped"}'
    assert "failed" not in output
    ((method, target, headers, body),) = server.requests
    assert (method, target, body) == ("GET", "/orders/A-7?expand=true", None)
    assert "authorization" not in headers
    assert (row["name"], row["agent"], row["status"]) == ("read_order", "support", "completed")
    assert row["output_bytes"] == len(output["output"])
    assert row["duration_ms"] >= 0


def test_arguments_stand_where_they_belong(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    text = {"type": "string"}
    properties = {"order_id": text, "note": text, "lang": text, "source": text, "tags": text}
    endpoint = {
        "method": "POST",
        "url": f"{server.url}/orders/{{order_id}}/notes",
        "parameters": {"properties": properties, "required": [*properties]},
        "locations": {"lang": "query", "source": "header"},
        "names": {"source": "X-Source", "note": "noteText", "lang": "l[0]"},
    }
    document = {
        "description": "Write a note.",
        "endpoint": endpoint,
        "headers": {"X-Shop": "eu"},
        "query": {"v": "2"},
        "fixed_arguments": {"tags": "vip"},
    }
    schema = save_tool(admin, "read_order", document)["model_schema"]
    assert schema["required"] == [*schema["properties"]] == ["order_id", "note", "lang", "source"]
    published(admin, "support", tools=[{"name": "read_order"}])
    called(member, "order_id=A/../7 note=hi lang=de source=chat tags=no [sandbox: call=read_order]")
    ((method, target, headers, body),) = server.requests
    assert (method, target) == ("POST", "/orders/A%2F..%2F7/notes?l%5B0%5D=de&v=2")
    assert (headers["x-source"], headers["x-shop"]) == ("chat", "eu")
    assert body == {"noteText": "hi", "tags": "vip"}


def test_arguments_that_do_not_fit_reach_no_server(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", order_tool(server.url))
    published(admin, "support", tools=[{"name": "read_order"}])
    output, row = called(member, "order_id=.. [sandbox: call=read_order]")
    assert (output["failed"], row["status"], server.requests) == (True, "failed", [])
    assert output["output"] == "The argument 'order_id' must not be '..'."
    output, _ = called(member, "order_id=a [sandbox: call=read_order, malformed-arguments]")
    assert (output["failed"], server.requests) == (True, [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nowhere", 'The server answered 404. {"detail":"Not Found"}'),
        ("/kinds/html", "The response is neither JSON nor text, but text/html."),
        ("/kinds/binary", "The response is neither JSON nor text, but application/pdf."),
        ("/kinds/broken", "The response is not JSON, although it says so."),
        ("/long", "The response is too large: more than 5242880 bytes."),
        ("/redirect?to=http://10.0.0.1/", "The server redirects to another address, which is not called."),
        ("/redirect?to=https://other.example/", "The server redirects to another address"),
        ("/redirect?to=file:///etc/passwd", "The server redirects to another address"),
        ("/redirect?to=/redirect%3Fto%3D/nowhere", "The server answered 404."),
    ],
)
def test_what_a_server_does_wrong_costs_the_call(
    admin: httpx.Client, member: httpx.Client, server: TenantServer, path: str, text: str
) -> None:
    path, _, query = path.partition("?")
    values = {"query": {"to": unquote(query.removeprefix("to="))}} if query else {}
    output = call_new_tool(admin, member, get_tool(server.url, path, **values))
    assert output["failed"] is True
    assert output["output"].startswith(text)


@pytest.mark.parametrize(
    ("path", "text"), [("/kinds/text", "plain words"), ("/kinds/empty", "The request succeeded (200).")]
)
def test_text_is_an_output_as_well(
    admin: httpx.Client, member: httpx.Client, server: TenantServer, path: str, text: str
) -> None:
    assert call_new_tool(admin, member, get_tool(server.url, path))["output"] == text


def test_cookies_of_a_server_are_not_sent_to_it_again(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    call_new_tool(admin, member, get_tool(server.url, "/kinds/text"))
    called(member)
    assert len(server.requests) == 2
    assert not any("cookie" in headers for *_, headers, _ in server.requests)


def test_a_call_that_takes_too_long_ends(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", get_tool(server.url, "/slow", timeout_seconds=1))
    published(admin, "support", tools=[{"name": "read_order"}])
    output, row = called(member)
    assert (output["failed"], row["status"]) == (True, "timed_out")
    assert "timed out after 1" in output["output"]


def test_a_run_that_is_cancelled_waits_for_no_answer_and_calls_once(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", get_tool(server.url, "/slow", timeout_seconds=60))
    published(admin, "support", tools=[{"name": "read_order"}])
    run = start_run(member, READ, agent_type="support")
    until(lambda: server.requests)
    assert cancel_run(member, run).is_success
    events = read_events(member, run)
    assert [event.type for event in events if event.type.startswith("run.")] == [
        "run.started",
        "run.cancelled",
    ]
    (row,) = member.get(f"{RUNS}/{run['id']}/tool-calls").json()
    assert (row["status"], len(server.requests)) == ("interrupted", 1)


def test_a_long_output_is_cut(admin: httpx.Client, member: httpx.Client, server: TenantServer) -> None:
    output = call_new_tool(admin, member, get_tool(server.url, "/kinds/text", max_output=5))
    assert output["output"] == "plain [cut: 6 more characters]"


@pytest.mark.parametrize(("members", "calls"), [({}, 3), ({"idempotent": False}, 1)])
def test_only_an_idempotent_call_is_repeated(
    admin: httpx.Client, member: httpx.Client, server: TenantServer, members: Json, calls: int
) -> None:
    server.failures += [503, 502]
    output = call_new_tool(admin, member, order_tool(server.url, **members))
    assert len(server.requests) == calls
    assert output.get("failed", False) is (calls == 1)
    expected = 'The server answered 503. {"error":"out of paper"}' if calls == 1 else "shipped"
    assert expected in output["output"]


def test_a_post_is_not_repeated_unless_its_author_says_so(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    document = {"description": "Pay.", "endpoint": {"method": "POST", "url": f"{server.url}/pay"}}
    server.failures += [503]
    assert call_new_tool(admin, member, document)["failed"] is True
    server.failures += [503]
    assert "failed" not in call_new_tool(admin, member, {**document, "idempotent": True})
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_costs_the_call(
    admin: httpx.Client, member: httpx.Client, server: TenantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Registered while its name led elsewhere.
    save_tool(admin, "read_order", order_tool("https://orders.invalid"))
    published(admin, "support", tools=[{"name": "read_order"}])
    output, row = called(member)
    assert (output["failed"], row["error"]) == (True, "tool_failed")
    assert (
        output["output"]
        == "The address may not be called: the host is not public, or its name cannot be resolved."
    )


@pytest.mark.parametrize(
    ("approval", "needs_approval"),
    [
        ("always", True),
        ({"properties": {"order_id": {"pattern": "^A"}}, "required": ["order_id"]}, True),
        ({"properties": {"order_id": {"pattern": "^B"}}, "required": ["order_id"]}, False),
    ],
)
def test_an_approval_is_required_by_condition(
    admin: httpx.Client,
    member: httpx.Client,
    server: TenantServer,
    approval: Any,
    needs_approval: bool,
) -> None:
    save_tool(admin, "read_order", order_tool(server.url, approval=approval))
    assert "tools[0].approval" in problems(
        admin, "support", tools=[{"name": "read_order", "approval": "never"}]
    )
    published(admin, "support", tools=[{"name": "read_order"}])
    run = wait_until_finished(member, start_run(member, READ, agent_type="support"))
    assert (run["status"], len(server.requests)) == (("waiting", 0) if needs_approval else ("completed", 1))


def test_a_call_is_made_with_the_arguments_that_a_person_has_changed(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", order_tool(server.url, approval="always"))
    published(admin, "support", tools=[{"name": "read_order"}])
    run = wait_until_finished(member, start_run(member, READ, agent_type="support"))
    (approval,) = run["approvals"]
    decision = {"approve": True, "arguments": {"order_id": "B-8"}}
    member.post(f"{RUNS}/{run['id']}/approvals/{approval['id']}", json=decision).raise_for_status()
    wait_until_finished(member, run)
    assert [target for _, target, *_ in server.requests] == ["/orders/B-8"]
    (row,) = member.get(f"{RUNS}/{run['id']}/tool-calls").json()
    assert (row["arguments"], bool(row["approved_by"])) == ('{"order_id":"B-8"}', True)


def test_a_tool_for_members_is_not_offered_to_end_users(
    admin: httpx.Client, person: Person, tenant: UUID, server: TenantServer
) -> None:
    save_tool(admin, "read_order", order_tool(server.url, audience="members"))
    published(admin, "support", tools=[{"name": "read_order"}])
    shop = person(tenant, "service:ak.shop")
    body = {"message": READ, "agent_type": "support"}
    for end_user, calls in (("ann", 0), (None, 1)):
        headers = {"Acme-End-User": end_user} if end_user else {}
        shop.post("/api/v1/chat", json=body, headers=headers).raise_for_status()
        assert len(server.requests) == calls


def test_an_agent_keeps_the_version_of_a_tool_until_it_is_published_again(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    first = save_tool(admin, "read_order", get_tool(server.url, "/orders/first"))
    published(admin, "support", tools=[{"name": "read_order"}])
    stored = admin.get(f"{AGENTS}/support/versions/1").json()["definition"]
    assert stored["tools"] == [{"name": "read_order", "digest": first["digest"]}]
    save_tool(admin, "read_order", get_tool(server.url, "/orders/second"))
    assert "first" in called(member)[0]["output"]
    assert save(admin, "support", tools=stored["tools"])["number"] == 1
    published(admin, "support", tools=[{"name": "read_order"}])
    assert "second" in called(member)[0]["output"]
    admin.post(f"{AGENTS}/support/rollback", json={}).raise_for_status()
    assert "first" in called(member)[0]["output"]


def test_a_draft_may_name_a_tool_that_comes_later(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save(admin, "support", tools=[{"name": "read_order"}])
    assert error_of(admin.post(f"{AGENTS}/support/publish", json={})) == (422, "invalid_agent_definition")
    save_tool(admin, "read_order", order_tool(server.url))
    publish(admin, "support")
    assert "shipped" in called(member)[0]["output"]


def test_agents_are_applied_with_the_newest_version_of_a_tool(
    admin: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", order_tool(server.url))
    documents = [{"name": "support", "definition": definition(tools=[{"name": "read_order"}])}]
    body = {"agents": documents, "dry_run": False}
    actions = []
    for path in ("/orders/a", "/orders/a", "/orders/b"):
        save_tool(admin, "read_order", get_tool(server.url, path))
        (agent,) = admin.post(f"{AGENTS}/apply", json=body).json()["agents"]
        actions.append((agent["action"], agent["version"]))
    assert actions == [("create", 1), ("unchanged", 1), ("update", 2)]


def test_what_a_definition_names_is_checked(
    admin: httpx.Client, person: Person, server: TenantServer
) -> None:
    tool = save_tool(admin, "read_order", order_tool(server.url))
    other = save_tool(person(uuid4(), role="admin"), "read_order", order_tool(server.url, timeout_seconds=9))
    assert problems(admin, "support", tools=[{"name": "read_order"}]) == {}
    assert problems(admin, "support", tools=[{"name": "read_order", "digest": tool["digest"]}]) == {}
    unknown = problems(admin, "support", tools=[{"name": "current_time"}, {"name": "reed_order"}])
    assert unknown.keys() == {"tools[1].name"}
    assert "read_order" in unknown["tools[1].name"]
    for name, digest in (("read_order", other["digest"]), ("current_time", tool["digest"])):
        faults = problems(admin, "support", tools=[{"name": name, "digest": digest}])
        assert faults == {"tools[0].digest": f"The tool {name!r} has no such version."}


def test_a_tool_that_agents_use_is_not_deleted(admin: httpx.Client, server: TenantServer) -> None:
    save_tool(admin, "read_order", order_tool(server.url))
    for name in ("support", "clerk"):
        published(admin, name, tools=[{"name": "read_order"}])
    response = admin.delete(f"{TOOLS}/read_order")
    assert error_of(response) == (409, "tool_in_use")
    assert response.json()["detail"] == "Agents use the tool: clerk, support. Publish them without it first."
    for name in ("support", "clerk"):
        published(admin, name)
    assert admin.delete(f"{TOOLS}/read_order").status_code == 204


def test_a_run_that_waits_goes_on_with_the_version_it_began_with(
    admin: httpx.Client, member: httpx.Client, server: TenantServer
) -> None:
    save_tool(admin, "read_order", get_tool(server.url, "/orders/first", approval="always"))
    published(admin, "support", tools=[{"name": "read_order"}])
    run = wait_until_finished(member, start_run(member, READ, agent_type="support"))
    save_tool(admin, "read_order", get_tool(server.url, "/orders/second"))
    published(admin, "support")
    assert admin.delete(f"{TOOLS}/read_order").status_code == 204
    assert admin.delete(f"{AGENTS}/support").status_code == 204
    (approval,) = run["approvals"]
    member.post(f"{RUNS}/{run['id']}/approvals/{approval['id']}", json={"approve": True}).raise_for_status()
    run = wait_until_finished(member, run)
    assert run["status"] == "completed"
    assert [target for _, target, *_ in server.requests] == ["/orders/first"]

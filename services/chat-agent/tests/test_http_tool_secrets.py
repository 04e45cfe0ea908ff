"""A secret that a tool of a tenant names reaches its server, and is found nowhere else."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.models import Base
from chat_agent.settings import Settings
from chat_agent.tenant_secrets.masking import MASK, Mask
from opentelemetry.trace import SpanKind
from testkit.databases import query
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

from .client_helpers import RUNS, payloads_of, read_events, start_run
from .tenant_server import TenantServer, order_tool, save_tool, tenant_server
from .test_agent_definitions import published

Json = dict[str, Any]
# With characters that are written differently in a URL, in JSON, in HTML.
SECRET = 'magpie/7+"orders" & <köy>\\end'
PLAIN = "magpie-of-orders-0123456789"
BASE64 = base64.b64encode(f"shop:{PLAIN}".encode()).decode()


@pytest.fixture(scope="module")
def server() -> Iterator[TenantServer]:
    with tenant_server() as server:
        yield server


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[TenantServer]:
    """Another server, to which the first redirects."""
    with tenant_server() as server:
        yield server


def with_hosts(settings: Settings, *servers: TenantServer, **more: Any) -> Settings:
    hosts = frozenset(urlsplit(one.url).netloc for one in servers)
    return settings.model_validate({**settings.model_dump(), **more, "tool_private_hosts": hosts})


def key_tool(url: str, path: str, **members: Any) -> Json:
    """Return a tool that sends the secrets in a header, in the query, and as a bearer's."""
    key = {"secret": "orders_key"}
    return {
        "description": "Read.",
        "endpoint": {"url": f"{url}{path}"},
        "headers": {
            "X-Api-Key": {"secret": "plain_key"},
            "Authorization": {"secret": "orders_key", "prefix": "Bearer "},
        },
        "query": {"api_key": key, **members.pop("query", {})},
        **members,
    }


def call(client: httpx.Client, document: Json) -> tuple[Json, str]:
    """Call a new tool by a new agent; return its output, and all that clients are told of the run."""
    name = f"t{uuid4().hex[:12]}"
    save_tool(client, name, document)
    published(client, name, tools=[{"name": name}])
    run = start_run(client, f"Go [sandbox: call={name}]", agent_type=name)
    events = read_events(client, run)
    assert events[-1].type == "run.completed", events[-1]
    (output,) = payloads_of(events, "tool.output")
    paths = (f"{RUNS}/{run['id']}", f"{RUNS}/{run['id']}/tool-calls", f"/api/v1/tools/{name}")
    texts = [json.dumps(event.data, ensure_ascii=False) for event in events]
    return output, "\n".join([*texts, *(client.get(path).text for path in paths)])


def rows_of_all_tables(settings: Settings) -> str:
    """Return all that the database of the service holds."""
    url = settings.database_url.get_secret_value()
    tables = {
        name: query(url, f'select t::text from "{name}" t')  # noqa: S608  # ours
        for name in Base.metadata.tables
    }
    assert all(tables[name] for name in ("tool_calls", "http_tools", "tenant_secrets", "agent_versions"))
    return "\n".join(str(row[0]) for rows in tables.values() for row in rows)


def traces_without(telemetry: Any, server: TenantServer) -> str:
    """Return the spans of this process, but for those of the tenant's server, which is in it as well."""
    port = urlsplit(server.url).port
    return "\n".join(
        span.to_json()
        for span in telemetry.spans
        if span.kind != SpanKind.SERVER or span.attributes["server.port"] != port
    )


def secrets_in(text: str) -> list[str]:
    """Return the forms of the secrets that a text has."""
    forms = [SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1]]
    forms += [quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(), PLAIN, "magpie"]
    return [form for form in forms if form in text]


def test_a_secret_is_in_no_log_row_or_trace(
    settings: Settings,
    other_services: Any,
    issuer: Issuer,
    captured_telemetry: Any,
    server: TenantServer,
    elsewhere: TenantServer,
) -> None:
    changes = {**captured_telemetry.settings, "service_client_secret": "what-chat-agent-proves"}
    changed = with_hosts(settings, server, elsewhere, **changes)
    token = issuer.token(role="owner", tenant_id=uuid4())
    with (
        serving(create_app(changed)) as url,
        httpx.Client(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {token}"}, verify=NO_AUTHORITIES
        ) as admin,
    ):
        for name, value in (("orders_key", SECRET), ("plain_key", PLAIN)):
            admin.put(f"/api/v1/secrets/{name}", json={"value": value}).raise_for_status()
        away = {"query": {"to": f"{elsewhere.url}/echo"}}
        documents = {
            "success": key_tool(server.url, "/orders/7"),
            "echo": key_tool(server.url, "/echo"),
            "failure": key_tool(server.url, "/mirror-error"),
            "timeout": key_tool(server.url, "/slow", timeout_seconds=1),
            "too large": key_tool(server.url, "/long"),
            "no JSON": key_tool(server.url, "/kinds/html"),
            "redirect": key_tool(server.url, "/redirect", **away),
            "nobody": key_tool("https://orders.invalid", "/orders/7"),
        }
        results = {name: call(admin, document) for name, document in documents.items()}
        listed = admin.get("/api/v1/tools").text + admin.get("/api/v1/secrets").text
    outputs = {name: output for name, (output, _) in results.items()}
    assert {name for name, output in outputs.items() if "failed" not in output} == {"success", "echo"}
    assert outputs["echo"]["output"].count(MASK) == 3
    assert MASK in outputs["failure"]["output"]
    assert outputs["redirect"]["output"].startswith("The server redirects to another address")
    # It was sent to the server of the tool, and to no other.
    by_path = {target.partition("?")[0]: (target, headers) for _, target, headers, _ in server.requests}
    target, headers = by_path["/echo"]
    assert f"api_key={quote(SECRET, safe='')}" in target
    assert headers["x-api-key"] == PLAIN
    assert headers["authorization"].encode("latin-1").decode() == f"Bearer {SECRET}"
    assert elsewhere.requests == []
    for _, seen in results.values():
        assert secrets_in(seen) == []
    assert secrets_in(listed) == []
    assert secrets_in(rows_of_all_tables(settings)) == []
    assert "tool call failed" in captured_telemetry.logs
    assert secrets_in(captured_telemetry.logs + captured_telemetry.metrics) == []
    assert secrets_in(traces_without(captured_telemetry, server)) == []


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"key={PLAIN}&x",
        BASE64,
        base64.urlsafe_b64encode(f"x{PLAIN}y".encode()).decode(),
        base64.b64encode(f"xy{PLAIN}".encode()).decode(),
        "".join(f"%{ord(one):02x}" for one in PLAIN),
        "".join(f"\\u{ord(one):04X}" for one in PLAIN),
    ],
)
def test_masks_a_secret_in_the_forms_that_servers_use(text: str) -> None:
    assert MASK in Mask([PLAIN])(text)
    assert PLAIN[2:-2] not in Mask([PLAIN])(text)
    middle = base64.b64encode(PLAIN.encode()).decode()[4:20]
    assert middle not in Mask([PLAIN])(text)


@pytest.mark.parametrize(
    "text", [SECRET, quote(SECRET, safe=""), quote(SECRET), json.dumps(SECRET), SECRET.replace(" ", "+")]
)
def test_masks_special_characters_however_they_are_written(text: str) -> None:
    masked = Mask([SECRET])(text)
    assert masked.strip('"') == MASK


def test_masks_the_longer_of_two_secrets_first() -> None:
    assert Mask(["abcd", "abcdefgh"])("abcdefgh") == MASK


def test_nothing_is_masked_without_secrets() -> None:
    assert Mask([])("words") == "words"


@pytest.fixture(scope="module")
def settings_with_server(settings: Settings, server: TenantServer) -> Settings:
    return with_hosts(settings, server)


@pytest.fixture
def admin(settings_with_server: Settings, issuer: Issuer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {issuer.token(role='owner', tenant_id=uuid4())}"}
    with (
        serving(create_app(settings_with_server)) as url,
        httpx.Client(base_url=url, timeout=60, headers=headers, verify=NO_AUTHORITIES) as client,
    ):
        yield client


def output_of(client: httpx.Client) -> str:
    """Return what a call gives that fails."""
    events = read_events(client, start_run(client, "Go [sandbox: call=keyed]", agent_type="keeper"))
    (output,) = payloads_of(events, "tool.output")
    assert output["failed"] is True
    return output["output"]


def test_a_secret_is_read_when_a_call_is_made(
    admin: httpx.Client, server: TenantServer, person: Callable[..., httpx.Client]
) -> None:
    document = order_tool(server.url, headers={"X-Api-Key": {"secret": "plain_key"}})
    document["endpoint"] = {"url": f"{server.url}/orders/7"}
    server.requests.clear()
    for value in ("first-value-of-a-key", "second-value-of-a-key"):
        admin.put("/api/v1/secrets/plain_key", json={"value": value}).raise_for_status()
        assert "shipped" in call(admin, document)[0]["output"]
    sent = [headers["x-api-key"] for *_, headers, _ in server.requests]
    assert sent == ["first-value-of-a-key", "second-value-of-a-key"]
    admin.put("/api/v1/secrets/plain_key", json={"value": "ends with a space "}).raise_for_status()
    save_tool(admin, "keyed", document)
    published(admin, "keeper", tools=[{"name": "keyed"}])
    assert output_of(admin) == "The header 'X-Api-Key' has characters that no header may have."
    admin.delete("/api/v1/secrets/plain_key").raise_for_status()
    assert "This tenant has no secret called 'plain_key'." in output_of(admin)


LONG = ["a" * 8000 + "b", "magpie" * 100 + "one", "magpie" * 100 + "two", "magpie" * 5]


@pytest.mark.parametrize("secret", LONG)
def test_long_secrets_are_masked_whole(secret: str) -> None:
    mask = Mask(LONG)
    assert mask(f"before {secret} after") == f"before {MASK} after"
    assert mask(f"before {quote(secret)}{json.dumps(secret)}") == f'before {MASK}"{MASK}"'


def test_what_begins_as_a_secret_is_masked() -> None:
    assert Mask(LONG)("a" * 100_000) == MASK * (100_000 // 8001) + MASK


def test_no_part_of_a_secret_is_left_where_a_text_is_cut() -> None:
    for size in range(40, 60):
        text = Mask([PLAIN]).limited("x" * 40 + quote(PLAIN, safe="") + "y" * 2000, size)
        assert text.startswith(("x" * 40 + MASK)[:size])
        assert PLAIN[:3] not in text

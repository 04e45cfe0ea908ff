"""A person's copy of what is stored of them: all of it, of nobody else, and whole or not at all."""

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.models import Base
from chat_agent.settings import Settings
from testkit.databases import query
from testkit.owned_rows import insert_rows, owned_tables, personal_tables

from .client_helpers import RUNS, error_of, start_run, wait_until_finished
from .conftest import OtherServices
from .test_erasure_walk import IDS_ONLY, OVERRIDES
from .test_memories import MEMORIES, add

EXPORT = "/api/v1/export"
SECRET = "my canary is called Wilhelmine"
Person = Callable[..., httpx.Client]
Json = dict[str, Any]
# Where rows of a table are in an export: the type of the line, and its member.
EXPORTED = {
    "runs": ("run", None),
    "approvals": ("run", "approvals"),
    "tool_calls": ("run", "called_tools"),
    "feedback": ("run", "feedback"),
    "attachments": ("attachment", None),
    "files": ("file", None),
    "memories": ("memory", None),
    "mcp_sign_ins": ("mcp_sign_in", None),
}
NOT_EXPORTED = {
    "agents": "the tenant's: who wrote it is in the tenant's audit log",
    "agent_versions": "the tenant's, as its agent",
    "agent_releases": "the tenant's, as its agent",
    "http_tools": "the tenant's",
    "mcp_servers": "the tenant's",
    "tenant_secrets": "the tenant's; tokens of sign-ins are secrets",
    "compactions": "summaries on their way into the conversation, which is exported",
    "outbox": "events on their way to other services, about what is exported",
    "leavers": "ids of deleted accounts alone",
}


@pytest.fixture
def ann(person: Person, tenant: UUID) -> httpx.Client:
    return person(tenant, f"user:{uuid4()}")


def exported(client: httpx.Client) -> list[Json]:
    answer = client.get(EXPORT)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="export.ndjson"'
    return [json.loads(line) for line in answer.content.splitlines()]


def of_type(parts: list[Json], type: str) -> list[Json]:
    return [part for part in parts if part["type"] == type]


def test_a_person_has_a_copy_of_all_that_is_theirs(person: Person, tenant: UUID, ann: httpx.Client) -> None:
    run = wait_until_finished(ann, start_run(ann, SECRET))
    feedback = {"rating": "down", "comment": "No.", "correction": "It is Wilhelm."}
    assert ann.put(f"{RUNS}/{run['id']}/feedback", json=feedback).is_success
    old = add(ann, SECRET)
    new = ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "it is called Wilhelm"}).json()
    form: Json = {"files": {"file": ("a.txt", SECRET.encode())}, "data": {"purpose": "user_data"}}
    file_id = ann.post("/v1/files", **form).json()["id"]
    parts = exported(ann)
    assert of_type(parts, "conversation")[0]["conversation_id"] == run["conversation_id"]
    assert SECRET in json.dumps(of_type(parts, "item"))
    (mine,) = of_type(parts, "run")
    assert mine["id"] == run["id"]
    assert mine["feedback"].items() >= feedback.items()
    assert {one["id"]: one["superseded_by"] for one in of_type(parts, "memory")} == {
        old["id"]: new["id"],
        new["id"]: None,
    }
    (file,) = of_type(parts, "file")
    assert (file["id"], file["filename"]) == (file_id, "a.txt")
    assert base64.b64decode(file["data"]) == SECRET.encode()
    for other in (person(tenant), person(tenant, role="owner"), person(subject=run["user_id"])):
        assert exported(other) == []


def test_every_table_of_a_person_is_in_the_export_or_has_a_reason(
    person: Person, tenant: UUID, settings: Settings
) -> None:
    personal = {table.name for table in personal_tables(Base.metadata)}
    assert personal == EXPORTED.keys() | NOT_EXPORTED.keys()
    user = f"user:{uuid4()}"
    tables = [table for table in owned_tables(Base.metadata) if table.name not in IDS_ONLY]
    insert_rows(settings.database_url, tables, tenant, user, SECRET, OVERRIDES)
    query(settings.database_url.get_secret_value(), "update runs set status = 'completed', ended_at = now()")
    parts = exported(person(tenant, user))
    missing = [
        table
        for table, (type, member) in EXPORTED.items()
        if not any(part[member] if member else part for part in of_type(parts, type))
    ]
    assert missing == []
    assert {part["type"] for part in parts} == {type for type, _ in EXPORTED.values()}


def test_no_token_and_nothing_to_complete_a_sign_in_with_is_exported(
    person: Person, tenant: UUID, settings: Settings
) -> None:
    user = f"user:{uuid4()}"
    sign_in_values = {"state": "connected", "state_hash": SECRET}
    overrides = {"mcp_servers": {"name": "shop"}, "mcp_sign_ins": sign_in_values}
    tables = [table for table in owned_tables(Base.metadata) if table.name in overrides]
    insert_rows(settings.database_url, tables, tenant, user, SECRET, overrides)
    (sign_in,) = exported(person(tenant, user))
    assert sign_in.keys() == {"type", "server", "state", "created_at", "updated_at"}
    assert (sign_in["server"], sign_in["state"]) == ("shop", "connected")
    assert SECRET not in json.dumps(sign_in)


def test_an_export_that_cannot_begin_is_an_error(ann: httpx.Client, other_services: OtherServices) -> None:
    wait_until_finished(ann, start_run(ann, SECRET))
    other_services.down = True
    assert error_of(ann.get(EXPORT)) == (503, "conversation_unavailable")
    other_services.down = False
    assert SECRET in json.dumps(exported(ann))


def test_an_export_that_fails_is_cut_off_and_no_client_takes_it_for_whole(
    ann: httpx.Client, other_services: OtherServices
) -> None:
    run = wait_until_finished(ann, start_run(ann, SECRET))
    other_services.failing.add(run["conversation_id"])
    with pytest.raises(httpx.RemoteProtocolError):
        ann.get(EXPORT)
    other_services.failing.clear()
    assert SECRET in json.dumps(exported(ann))


def test_a_conversation_that_is_deleted_meanwhile_ends_nothing(
    ann: httpx.Client, other_services: OtherServices
) -> None:
    runs = [wait_until_finished(ann, start_run(ann, SECRET)) for _ in range(2)]
    other_services.vanishing.add(runs[0]["conversation_id"])
    items = of_type(parts := exported(ann), "item")
    assert {item["conversation_id"] for item in items} == {runs[1]["conversation_id"]}
    assert len(of_type(parts, "conversation")) == 2

"""What a person sees, corrects and deletes of what agents know of them; theirs alone."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.memory import store
from chat_agent.memory.erasure import memory_rules
from chat_agent.settings import Settings
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from testkit.databases import query

from .client_helpers import error_of

Person = Callable[..., httpx.Client]
MEMORIES = "/api/v1/memories"


def add(client: httpx.Client, text: str, **more: Any) -> dict[str, Any]:
    answer = client.post(MEMORIES, json={"text": text, **more})
    assert answer.status_code == 201, answer.text
    memory: dict[str, Any] = answer.json()
    return memory


def listed(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(MEMORIES, params=params).json()["items"]
    return items


def test_a_correction_supersedes_and_overwrites_nothing(ann: httpx.Client) -> None:
    old = add(ann, "I live in Bern", kind="fact")
    assert (old["source_run"], old["superseded_by"]) == (None, None)
    new = ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "I live in Basel"}).json()
    assert listed(ann) == [new]
    assert listed(ann, include_superseded=True) == [new, {**old, "superseded_by": new["id"]}]
    again = ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "I live in Biel"})
    assert error_of(again) == (409, "memory_superseded")


def test_the_same_is_not_there_twice(ann: httpx.Client) -> None:
    first = add(ann, "I live in Bern")
    assert add(ann, "i live in bern")["id"] == first["id"]
    other = add(ann, "I live in Bern", agent="vet")
    preference = add(ann, "I live in Bern", kind="preference")
    assert listed(ann) == [preference, other]
    assert listed(ann, include_superseded=True)[-1] == {**first, "superseded_by": preference["id"]}


def test_a_deleted_memory_is_gone_with_what_it_superseded(ann: httpx.Client) -> None:
    old, other = add(ann, "I live in Bern"), add(ann, "I eat no meat", kind="preference")
    new = ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "I live in Basel"}).json()
    assert ann.delete(f"{MEMORIES}/{new['id']}").status_code == 204
    assert listed(ann, include_superseded=True) == [other]
    assert error_of(ann.delete(f"{MEMORIES}/{new['id']}")) == (404, "memory_not_found")


def test_forget_me_deletes_all_of_one_person(person: Person, settings: Settings) -> None:
    ann, bob = person(), person()
    old = add(ann, "My canary is called Wilhelmine")
    ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "My canary is called Wilhelm"})
    theirs = add(bob, "I am Bob")
    assert ann.delete(MEMORIES).status_code == ann.delete(MEMORIES).status_code == 204
    assert (listed(ann, include_superseded=True), listed(bob)) == ([], [theirs])
    url = settings.database_url.get_secret_value()
    assert query(url, "select * from memories where text like 'My canary%'") == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_nobody_else_has_to_do_with_it(person: Person, method: str) -> None:
    ann = person()
    memory = add(ann, "I live in Bern")
    body = {"text": "I live nowhere"} if method == "PATCH" else None
    for other in (person(), person(tenant_id=uuid4()), person(role="owner")):
        answer = other.request(method, f"{MEMORIES}/{memory['id']}", json=body)
        assert error_of(answer) == (404, "memory_not_found")
        assert listed(other) == []
    assert listed(ann) == [memory]


def test_pages_go_on_where_the_last_one_ended(ann: httpx.Client) -> None:
    memories = [add(ann, f"Number {number}", kind="summary") for number in range(3)]
    add(ann, "Of another kind")
    first = ann.get(MEMORIES, params={"limit": 2, "kind": "summary"}).json()
    more = {"limit": 2, "kind": "summary", "cursor": first["next_cursor"]}
    rest = ann.get(MEMORIES, params=more).json()
    assert [*first["items"], *rest["items"]] == memories[::-1]
    assert rest["next_cursor"] is None
    assert error_of(ann.get(MEMORIES, params={"cursor": "x"})) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": " "},
        {"text": "x" * 1001},
        {"text": "a\x00b"},
        {"text": "x", "kind": "rumour"},
        {"text": "x", "agent": "No Name"},
        {"text": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"text": "x", "source_run": "00000000-0000-4000-8000-000000000000"},
    ],
)
def test_what_is_no_memory_is_refused(ann: httpx.Client, body: dict[str, Any]) -> None:
    assert ann.post(MEMORIES, json=body).status_code == 422


def test_a_person_has_no_more_memories_than_the_limit(
    ann: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_MEMORIES", 2)
    old, _ = add(ann, "One"), add(ann, "Two")
    assert error_of(ann.post(MEMORIES, json={"text": "Three"})) == (409, "too_many_memories")
    assert error_of(ann.patch(f"{MEMORIES}/{old['id']}", json={"text": "1"})) == (409, "too_many_memories")
    ann.delete(f"{MEMORIES}/{old['id']}")
    add(ann, "Three")


def test_what_has_expired_is_not_listed_and_is_deleted(ann: httpx.Client, settings: Settings) -> None:
    memory = add(ann, "I am on holiday", expires_at="2999-01-01T00:00:00Z")
    stays = add(ann, "I am Ann")
    url = settings.database_url.get_secret_value()
    expire = "update memories set expires_at = now() - interval '1 second' where text = $1 returning id"
    assert query(url, expire, memory["text"])
    assert listed(ann) == [stays]
    assert error_of(ann.patch(f"{MEMORIES}/{memory['id']}", json={"text": "x"})) == (404, "memory_not_found")

    async def clean() -> None:
        database = Database(settings.database_url, name="test")
        await RetentionWorker(database, rules=memory_rules()).step()
        await database.close()

    asyncio.run(clean())
    assert query(url, "select id from memories where text = $1", memory["text"]) == []
    assert listed(ann) == [stays]

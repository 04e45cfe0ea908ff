"""What other services do here, for somebody."""

import asyncio
from uuid import uuid4

import pytest
from conversation.main import create_app
from testkit.app import client, running


def note(item_id, text="noted", role="user"):
    return {"id": item_id, "data": {"role": role, "content": text}}


@pytest.fixture
def bob():
    return uuid4(), f"user:{uuid4()}"


@pytest.fixture
async def talk(service, bob):
    path = f"/internal/v1/conversations/{uuid4()}"
    assert (await service(*bob).put(path, json={})).status_code == 200
    return path


@pytest.fixture
def say(person, bob, talk):
    """Return a function that has Bob say things."""

    async def add(*items):
        path = f"{talk.replace('/internal', '/api')}/items"
        assert (await person(*bob).post(path, json={"items": items})).status_code == 200

    return add


async def test_begins_a_conversation_under_a_chosen_id_once(service, person, bob):
    path = f"/internal/v1/conversations/{uuid4()}"
    first = await service(*bob).put(path, json={"title": "First"})
    again = await service(*bob).put(path, json={"title": "Second"})

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["title"] == "First"
    assert len((await person(*bob).get("/api/v1/conversations")).json()["items"]) == 1


async def test_begins_it_once_also_when_all_ask_at_the_same_time(service, bob):
    path = f"/internal/v1/conversations/{uuid4()}"
    answers = await asyncio.gather(*(service(*bob).put(path, json={}) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}


async def test_both_ports_return_one_history(service, person, bob, talk):
    run_id = uuid4()
    inner = {"attempt": 1, "items": [note(f"{run_id}-1", "from inside")]}
    await service(*bob).put(f"{talk}/turns/{run_id}", json=inner)
    public = talk.replace("/internal", "/api")
    await person(*bob).post(f"{public}/items", json={"items": [note("b", "from outside")]})

    inside = (await service(*bob).get(f"{talk}/items")).json()["items"]

    assert [one["id"] for one in inside] == [f"{run_id}-1", "b"]
    assert inside == (await person(*bob).get(f"{public}/items")).json()["items"]


async def test_gives_the_last_items_oldest_first(service, bob, talk, say):
    await say(*(note(str(number)) for number in range(10)))

    answer = await service(*bob).get(f"{talk}/items", params={"last": 3})

    assert [one["id"] for one in answer.json()["items"]] == ["7", "8", "9"]


async def test_clears_a_conversation_and_leaves_it_there(service, person, bob, talk, say):
    await say(note("a"), note("b"))
    for _ in range(2):
        assert (await service(*bob).delete(f"{talk}/items")).status_code == 204

    assert (await service(*bob).get(f"{talk}/items")).json() == {"items": []}
    [listed] = (await person(*bob).get("/api/v1/conversations")).json()["items"]
    assert (listed["message_count"], listed["last_message"]) == (0, None)


async def test_finds_messages(service, bob, talk, say):
    await say(note("a", "The parcel arrives on Tuesday", "assistant"))

    answer = await service(*bob).get("/internal/v1/search", params={"query": "parcels", "limit": 5})

    [match] = answer.json()["items"]
    assert match["conversation_id"] == talk.rpartition("/")[2]
    assert (match["role"], match["snippet"]) == ("assistant", "The parcel arrives on Tuesday")


async def test_says_whether_it_may_take_traffic(settings):
    working = create_app(settings.model_copy(update={"run_workers": True}))
    async with running(working), client(working.state.internal) as probe:
        answer = await probe.get("/readyz")

    assert answer.status_code == 200, answer.text
    parts = ("database", "redis", "keys", "housekeeping", "consumer:conversation")
    assert answer.json()["checks"] == dict.fromkeys(parts, "ok")

import asyncio
import json
from uuid import uuid4

import pytest

CONVERSATIONS = "/api/v1/conversations"


def note(item_id, text="noted", **more):
    return {"id": item_id, "data": {"role": "user", "content": text, **more}}


@pytest.fixture
async def items(ann, begin):
    return f"{CONVERSATIONS}/{await begin(ann)}/items"


async def test_gives_items_back_as_they_came(ann, items):
    data = {
        "type": "function_call_output",
        "call_id": "c1",
        "output": {"text": "π ≈ 3.14159, \U0001f600", "deep": [[{"empty": {}}], None, True, 1.5, -7, 10**30]},
    }
    sent = await ann.post(items, json={"items": [{"id": "out-1", "data": data}]})

    assert sent.status_code == 200
    [stored] = (await ann.get(items)).json()["items"]
    assert stored == sent.json()["items"][0]
    assert (stored["id"], stored["position"], stored["data"]) == ("out-1", 1, data)


async def test_keeps_the_order_in_which_items_came(ann, items):
    await ann.post(items, json={"items": [note("c"), note("a")]})
    await ann.post(items, json={"items": [note("b")]})

    stored = (await ann.get(items)).json()["items"]

    assert [(one["id"], one["position"]) for one in stored] == [("c", 1), ("a", 2), ("b", 3)]


async def test_takes_an_item_once_however_often_it_comes(ann, items):
    first = await ann.post(items, json={"items": [note("a", "one"), note("b", "two")]})
    again = await ann.post(items, json={"items": [note("b", "two"), note("c", "three"), note("a", "one")]})

    assert again.status_code == 200
    assert [one["id"] for one in again.json()["items"]] == ["b", "c", "a"]
    assert again.json()["items"][0] == first.json()["items"][1]
    assert [one["id"] for one in (await ann.get(items)).json()["items"]] == ["a", "b", "c"]


async def test_takes_a_number_for_the_same_however_postgres_writes_it(ann, items):
    numbers = ["1e2", "100.0", "1e22", "0.1", "1e-400", "12345678901234567890123", "-0.0"]
    body = '{"items": [{"id": "n", "data": {"numbers": [' + ", ".join(numbers) + "]}}]}"
    for _ in range(2):
        answer = await ann.post(items, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text

    [stored] = (await ann.get(items)).json()["items"]
    assert stored["data"]["numbers"] == [json.loads(number) for number in numbers]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"role": "user", "content": "yes"}, {"role": "user", "content": "no"}),
        ({"flag": True}, {"flag": 1}),
        ({"list": [1, 2]}, {"list": [2, 1]}),
        ({}, {"more": None}),
    ],
)
async def test_refuses_an_id_that_is_there_with_other_content(ann, items, first, second):
    await ann.post(items, json={"items": [{"id": "a", "data": first}]})
    answer = await ann.post(items, json={"items": [note("new"), {"id": "a", "data": second}]})

    assert answer.status_code == 409
    assert answer.json()["code"] == "item_conflict"
    assert answer.json()["item_id"] == "a"
    assert [one["data"] for one in (await ann.get(items)).json()["items"]] == [first]


async def test_the_same_id_is_another_item_in_another_conversation(ann, items, begin):
    other = f"{CONVERSATIONS}/{await begin(ann)}/items"
    await ann.post(items, json={"items": [note("a", "here")]})

    assert (await ann.post(other, json={"items": [note("a", "there")]})).status_code == 200


async def test_gives_each_of_twenty_appends_at_once_a_place_of_its_own(ann, items):
    answers = await asyncio.gather(
        *(ann.post(items, json={"items": [note(f"{n}-a"), note(f"{n}-b")]}) for n in range(20))
    )

    assert {answer.status_code for answer in answers} == {200}
    stored = (await ann.get(items, params={"limit": 100})).json()["items"]
    assert [one["position"] for one in stored] == list(range(1, 41))
    assert [one["id"][-1] for one in stored] == ["a", "b"] * 20
    conversation = (await ann.get(items.removesuffix("/items"))).json()
    assert conversation["message_count"] == 40


async def test_keeps_one_of_twenty_equal_items_that_come_at_once(ann, items):
    answers = await asyncio.gather(*(ann.post(items, json={"items": [note("same")]}) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert len((await ann.get(items)).json()["items"]) == 1


async def test_keeps_one_of_twenty_different_items_that_come_at_once_under_one_id(ann, items):
    answers = await asyncio.gather(
        *(ann.post(items, json={"items": [note("same", str(n))]}) for n in range(20))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len((await ann.get(items)).json()["items"]) == 1


async def test_a_conversation_that_is_deleted_meanwhile_is_unknown(ann, items):
    conversation = items.removesuffix("/items")
    answers = await asyncio.gather(
        *(ann.post(items, json={"items": [note(str(n))]}) for n in range(5)),
        *(ann.delete(conversation) for _ in range(5)),
        *(ann.post(items, json={"items": [note(f"late-{n}")]}) for n in range(5)),
    )

    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert [answer.status_code for answer in answers].count(204) == 1
    assert (await ann.get(conversation)).status_code == 404


async def test_keeps_a_long_message_whole(ann, items):
    text = "word " * 20_000
    await ann.post(items, json={"items": [note("long", text)]})

    assert (await ann.get(items)).json()["items"][0]["data"]["content"] == text


async def test_indexes_a_message_of_nothing_but_different_words(ann, items):
    words = " ".join(f"{number:x}" for number in range(40_000))
    assert (await ann.post(items, json={"items": [note("dictionary", words)]})).status_code == 200

    results = await ann.get(f"{CONVERSATIONS}/search", params={"query": "3e8"})
    assert "3e8" in results.json()["items"][0]["snippet"]


async def test_takes_an_item_of_a_million_characters(ann, items):
    text = "x" * 1_000_000

    assert (await ann.post(items, json={"items": [note("long", text)]})).status_code == 200

    assert (await ann.get(items)).json()["items"][0]["data"]["content"] == text


async def test_refuses_a_body_above_one_mebibyte(ann, items):
    answer = await ann.post(items, json={"items": [note(str(n), "x" * 200_000) for n in range(6)]})

    assert answer.status_code == 413
    assert answer.json()["code"] == "payload_too_large"


@pytest.mark.parametrize("count", [0, 101])
async def test_takes_one_to_a_hundred_items_at_once(ann, items, count):
    answer = await ann.post(items, json={"items": [note(str(n)) for n in range(count)]})

    assert answer.status_code == 422
    assert (await ann.get(items)).json()["items"] == []


async def test_a_service_lists_reads_and_deletes_single_items(service):
    tenant_id, subject, conversation_id = uuid4(), f"user:{uuid4()}", uuid4()
    path, client = f"/internal/v1/conversations/{conversation_id}", service(tenant_id, subject)
    await client.put(path, json={"metadata": {"a": "b"}})
    new = [{"id": id, "data": {"role": "user", "content": id}} for id in ("one", "two", "three")]
    assert (await client.post(f"{path}/items", json={"items": new})).status_code == 200

    async def ids(**page):
        return [item["id"] for item in (await client.get(f"{path}/item-list", params=page)).json()["items"]]

    assert await ids() == ["one", "two", "three"]
    assert await ids(order="desc", limit=2) == ["three", "two"]
    assert await ids(order="desc", after="two") == ["one"]
    assert (await client.get(f"{path}/item-list?after=none")).json()["code"] == "item_not_found"
    assert (await client.get(f"{path}/items/two")).json()["data"]["content"] == "two"
    assert [(await client.delete(f"{path}/items/two")).status_code for _ in range(2)] == [204, 404]
    assert await ids() == ["one", "three"]
    detail = (await client.patch(path, json={"metadata": {"c": "d"}})).json()
    assert (detail["message_count"], detail["metadata"]) == (2, {"c": "d"})


async def pages_of(get, path, name, **params):
    """Walk all pages of a list, and give the ids on each."""
    pages, more = [], {}
    while True:
        answer = await get(path, params={**params, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([one["id"] for one in page["items"]])
        if page["next_cursor"] is None:
            return pages
        more = {name: page["next_cursor"]}


async def test_a_page_has_no_more_bytes_than_are_read_in_a_moment(person, service):
    owner = uuid4(), f"user:{uuid4()}"
    path, run_id = f"/internal/v1/conversations/{uuid4()}", uuid4()
    sizes = [400, 400, 400, 1500, 10, 10, 1500]
    for number, size in enumerate(sizes):
        new = {"attempt": 1, "items": [note(f"{run_id}-{number}", "x" * size * 1024)]}
        assert (await service(*owner).put(f"{path}/turns/{run_id}", json=new)).status_code == 200
    public = f"{path.replace('/internal', '/api')}/items"
    expected = [[0, 1], [2], [3], [4, 5], [6]]
    for get, url, name in (
        (person(*owner).get, public, "cursor"),
        (service(*owner).get, f"{path}/item-page", "cursor"),
        (service(*owner).get, f"{path}/item-list", "after"),
    ):
        pages = await pages_of(get, url, name, limit=100)
        assert [[int(one.removeprefix(f"{run_id}-")) for one in page] for page in pages] == expected, url
    backwards = await pages_of(service(*owner).get, f"{path}/item-list", "after", order="desc")
    numbers = [[int(one.removeprefix(f"{run_id}-")) for one in page] for page in backwards]
    assert numbers == [[6], [5, 4], [3], [2, 1], [0]]

"""Turning pages shows everything once, whatever arrives meanwhile."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONVERSATIONS = "/api/v1/conversations"


def notes(ids):
    return {"items": [{"id": one, "data": {"role": "user", "content": one}} for one in ids]}


async def pages(who, path, limit):
    """Return page after page, as the client that asks for them sees them."""
    params = {"limit": limit}
    while True:
        answer = await who.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


@pytest.mark.parametrize(
    ("there", "limit", "arriving"), [(7, 3, 0), (6, 3, 0), (7, 1, 1), (9, 4, 3), (5, 100, 2)]
)
async def test_items_are_each_listed_once_while_new_ones_arrive(ann, begin, there, limit, arriving):
    path = f"{CONVERSATIONS}/{await begin(ann)}/items"
    await ann.post(path, json=notes(f"old-{number}" for number in range(there)))
    seen, turns = [], 0
    async for page in pages(ann, path, limit):
        seen += [one["id"] for one in page]
        turns += 1
        if arriving and turns < 4:
            await ann.post(path, json=notes(f"new-{turns}-{number}" for number in range(arriving)))

    assert len(seen) == len(set(seen))
    assert seen[:there] == [f"old-{number}" for number in range(there)]
    item_ids = [one["id"] for one in (await ann.get(path, params={"limit": 100})).json()["items"]]
    assert seen == item_ids[: len(seen)]


async def test_items_are_each_listed_once_while_some_are_deleted(person, service, ann, begin):
    path = f"{CONVERSATIONS}/{await begin(ann)}/items"
    await ann.post(path, json=notes(str(number) for number in range(10)))
    answer = (await ann.get(path, params={"limit": 4})).json()
    rest = await ann.get(path, params={"limit": 100, "cursor": answer["next_cursor"]})

    assert [one["id"] for one in answer["items"] + rest.json()["items"]] == [
        str(number) for number in range(10)
    ]


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_unchanged_conversations_are_each_listed_once_and_none_twice(ann, begin, limit):
    old = [await begin(ann, f"old {number}") for number in range(6)]
    touched, begun, seen = old[::2], [], []
    async for page in pages(ann, CONVERSATIONS, limit):
        seen += [one["conversation_id"] for one in page]
        if len(begun) < 3:
            begun.append(await begin(ann, "new"))
            await ann.post(f"{CONVERSATIONS}/{touched[len(begun) - 1]}/items", json=notes([f"t{len(begun)}"]))

    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in old[1::2]] == old[1::2][::-1]
    assert not set(seen) & set(begun)


def cursor(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


FORGED = [
    "%%%",
    "",
    "é",
    "a",
    "bm9uc2Vuc2U",
    cursor({}),
    cursor([]),
    cursor([None]),
    cursor([True]),
    cursor([-1]),
    cursor([2**31]),
    cursor([2**70]),
    cursor([1.5]),
    cursor(["1"]),
    cursor(["2026-01-01T00:00:00+00:00", "no-uuid"]),
    cursor(["2026-01-01T00:00:00", "7c0e7a3e-0000-4000-8000-000000000000"]),
    cursor(["0001-01-01T00:00:00+14:00", "7c0e7a3e-0000-4000-8000-000000000000"]),
    cursor(["0001-01-01T00:00:00+14:00", "7c0e7a3e-0000-4000-8000-000000000000", 1]),
    cursor(["\0", "\0"]),
    cursor(["2026-01-01T00:00:00+00:00", "7c0e7a3e-0000-4000-8000-000000000000", -1]),
]


@pytest.mark.parametrize("path", ["", "/{conversation_id}/items", "/search"])
async def test_refuses_a_forged_cursor(ann, begin, path):
    path = CONVERSATIONS + path.format(conversation_id=await begin(ann, "one"))
    for forged in FORGED:
        answer = await ann.get(path, params={"cursor": forged, "query": "one"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), forged


async def test_no_invented_cursor_does_any_harm(ann, begin):
    path = f"{CONVERSATIONS}/{await begin(ann, 'one')}/items"
    invented: list[str] = []

    @settings(max_examples=30, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(
            st.text(), st.recursive(st.integers() | st.text() | st.datetimes().map(str), st.lists).map(cursor)
        )
    )
    def invent(value):
        invented.append(value)

    invent()
    for value in invented:
        answer = await ann.get(path, params={"cursor": value})
        assert answer.status_code in {200, 400, 422}, value


@pytest.mark.parametrize("limit", [0, -1, 101, "many"])
async def test_takes_a_limit_of_1_to_100(ann, limit):
    answer = await ann.get(CONVERSATIONS, params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "limit"]

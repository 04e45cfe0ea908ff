"""What a run begins with, taken in at once, and taken back."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import event


def note(item_id, text="noted", role="user", **more):
    return {"id": item_id, "data": {"role": role, "content": text, **more}}


class Turn:
    """A run in a conversation, and the one on whose behalf it is."""

    def __init__(self, client, conversation_id, run_id=None):
        self.client = client
        self.run_id = run_id or uuid4()
        self.talk = f"/internal/v1/conversations/{conversation_id}"
        self.path = f"{self.talk}/turns/{self.run_id}"

    def notes(self, *texts, role="user"):
        return [note(f"{self.run_id}-{number:04}", text, role) for number, text in enumerate(texts, 1)]

    async def begin(self, *texts, **options):
        return await self.client.put(self.path, json={"items": self.notes(*texts), **options})

    async def forget(self):
        answer = await self.client.delete(self.path)
        assert (answer.status_code, answer.content) == (204, b"")

    async def append(self, *items):
        answer = await self.client.post(f"{self.talk}/items", json={"items": items})
        assert answer.status_code == 200, answer.text

    async def items(self):
        return (await self.client.get(f"{self.talk}/items")).json()["items"]


def texts(answer):
    assert answer.status_code == 200, answer.text
    return [one["data"]["content"] for one in answer.json()["items"]]


@pytest.fixture
def bob():
    return uuid4(), f"user:{uuid4()}"


@pytest.fixture
def turn(service, bob):
    """Give a function that gives a turn in Bob's conversation."""
    conversation_id = uuid4()
    return lambda run_id=None: Turn(service(*bob), conversation_id, run_id)


@pytest.fixture
def listed(person, bob):
    """Give a function that gives Bob's one conversation as he sees it in his list."""

    async def conversation():
        [only] = (await person(*bob).get("/api/v1/conversations")).json()["items"]
        return only

    return conversation


async def test_begins_a_conversation_with_its_first_turn(turn, listed):
    first = turn()

    assert texts(await first.begin("Hello")) == ["Hello"]

    conversation = await listed()
    assert conversation["conversation_id"] == first.talk.rpartition("/")[2]
    assert (conversation["title"], conversation["last_message"]) == ("Hello", "Hello")
    assert conversation["message_count"] == 1


async def test_gives_what_was_said_before_oldest_first(turn):
    first, second = turn(), turn()
    await first.begin("one")
    await first.append(note("other", "two", "assistant"))

    answer = await second.begin("three")

    assert texts(answer) == ["one", "two", "three"]
    assert answer.json()["items"] == await second.items()


async def test_gives_only_the_last_ones(turn):
    await turn().begin(*(str(number) for number in range(10)))

    assert texts(await turn().begin("a", "b", last=3)) == ["9", "a", "b"]
    assert texts(await turn().begin("c", "d", last=1)) == ["d"]


async def test_takes_a_turn_without_items(turn, listed):
    assert texts(await turn().begin()) == []
    assert (await listed())["message_count"] == 0
    await turn().begin("one")
    before = await listed()

    assert texts(await turn().begin()) == ["one"]
    assert await listed() == before


async def test_takes_a_turn_once_however_often_it_comes(turn, listed):
    first = turn()
    answer = await first.begin("one", "two")
    before = await listed()

    assert (await first.begin("one", "two")).json() == answer.json()
    assert await listed() == before
    more = await first.begin("one", "two", "three")
    assert [one["position"] for one in more.json()["items"]] == [1, 2, 3]


async def test_a_turn_that_comes_again_later_gives_the_last_ones_all_the_same(turn):
    first = turn()
    await first.begin("one", "two")
    await turn().begin("three", "four")

    assert texts(await first.begin("one", "two", last=2)) == ["three", "four"]
    assert texts(await first.begin("one", "two", last=3)) == ["two", "three", "four"]


async def test_refuses_a_turn_that_says_something_else_now(turn):
    first = turn()
    await first.begin("yes")

    answer = await first.begin("no", "and more")

    assert (answer.status_code, answer.json()["code"]) == (409, "item_conflict")
    assert answer.json()["item_id"] == f"{first.run_id}-0001"
    assert [one["data"]["content"] for one in await first.items()] == ["yes"]


async def test_refuses_items_of_another_run(turn):
    first, second = turn(), turn()
    for items in (second.notes("x"), [note(f"{first.run_id}", "x")], [note(f"{first.run_id}x-1")]):
        answer = await first.client.put(first.path, json={"items": items})
        assert (answer.status_code, answer.json()["code"]) == (422, "item_of_another_run")

    assert (await first.client.get(f"{first.talk}/items")).status_code == 404


async def test_refuses_an_item_above_its_size(turn):
    first = turn()

    answer = await first.begin("x" * 256 * 1024)

    assert (answer.status_code, answer.json()["code"]) == (413, "item_too_large")
    assert (await first.client.get(f"{first.talk}/items")).status_code == 404


async def test_gives_data_back_as_it_came(turn):
    first = turn()
    data = {"output": 'π \U0001f600 \\u0000 "quoted"\n', "deep": [[{"": {}}], None, True, 1.5, -7, 10**30]}
    items = [{"id": f"{first.run_id}-0001", "data": data}]

    answer = await first.client.put(first.path, json={"items": items})

    assert answer.json()["items"][0]["data"] == data
    assert answer.headers["content-type"] == "application/json"


async def test_is_not_begun_in_the_conversation_of_another(turn, service):
    first = turn()
    await first.begin("mine")
    stranger = Turn(service(), first.talk.rpartition("/")[2])

    assert (await stranger.begin("theirs")).json()["code"] == "conversation_unknown"
    assert [one["data"]["content"] for one in await first.items()] == ["mine"]


async def test_twenty_turns_at_once_begin_one_conversation(turn, listed):
    answers = await asyncio.gather(*(turn().begin(f"{number}-a", f"{number}-b") for number in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    kept = await turn().items()
    assert [one["position"] for one in kept] == list(range(1, 41))
    assert [one["data"]["content"][-1] for one in kept] == ["a", "b"] * 20
    assert (await listed())["message_count"] == 40


async def test_keeps_one_of_twenty_equal_turns_that_come_at_once(turn):
    run_id = uuid4()
    answers = await asyncio.gather(*(turn(run_id).begin("same") for _ in range(20)))

    assert [texts(answer) for answer in answers] == [["same"]] * 20


async def test_costs_three_statements(turn, app):
    await turn().begin("one")
    statements = []
    engine = app.state.kit.database.engine.sync_engine

    def count(connection, cursor, statement, *_):
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        await turn().begin("two")
    finally:
        event.remove(engine, "before_cursor_execute", count)

    assert len(statements) == 3


async def test_takes_a_turn_back_and_tells_of_what_is_left(turn, listed):
    first, second = turn(), turn()
    await first.begin("one")
    await second.begin("two")
    await second.append(note(f"{second.run_id}-0002", "an answer", "assistant"))

    for _ in range(2):
        await second.forget()

    assert [one["data"]["content"] for one in await first.items()] == ["one"]
    conversation = await listed()
    assert (conversation["message_count"], conversation["last_message"]) == (1, "one")
    assert conversation["title"] == "one"
    assert [one["position"] for one in (await turn().begin("three")).json()["items"]] == [1, 4]


async def test_changes_nothing_when_there_is_nothing_to_take_back(turn, listed):
    await turn().begin("one")
    before = await listed()

    await turn().forget()

    assert await listed() == before


async def test_takes_back_only_what_is_the_runs(turn):
    first = turn()
    await first.begin("one")
    others = [note(f"x{first.run_id}-1", "a"), note(f"{first.run_id}", "b"), note(f"{first.run_id}x", "c")]
    await first.append(*others)

    await first.forget()

    assert [one["data"]["content"] for one in await first.items()] == ["a", "b", "c"]


async def test_a_title_goes_with_the_message_that_gave_it(turn, listed):
    first, second = turn(), turn()
    await first.begin("A mistake")
    await first.forget()

    conversation = await listed()
    assert (conversation["title"], conversation["message_count"]) == (None, 0)
    await second.begin("Better")
    assert (await listed())["title"] == "Better"


async def test_a_title_comes_from_what_is_left(turn, listed):
    first, second = turn(), turn()
    await first.begin("A mistake")
    await second.begin("  What\nremains")

    await first.forget()

    assert (await listed())["title"] == "What remains"


async def test_a_title_that_was_given_stays(turn, listed):
    first = turn()
    await first.client.put(first.talk, json={"title": "Given"})
    await first.begin("A mistake")

    await first.forget()

    assert (await listed())["title"] == "Given"

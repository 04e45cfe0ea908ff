"""What a run begins with, taken in at once, and taken back."""

import asyncio
from uuid import UUID, uuid4

import pytest
from conversation import models
from sqlalchemy import event


def note(item_id, text="noted", role="user", **more):
    return {"id": item_id, "data": {"role": role, "content": text, **more}}


class Turn:
    """A run in a conversation, and the one on whose behalf it is."""

    def __init__(self, client, conversation_id, run_id=None, attempt=1):
        self.client = client
        self.attempt = attempt
        self.run_id = run_id or uuid4()
        self.talk = f"/internal/v1/conversations/{conversation_id}"
        self.path = f"{self.talk}/turns/{self.run_id}"

    def notes(self, *texts, role="user"):
        return [note(f"{self.run_id}-{number:04}", text, role) for number, text in enumerate(texts, 1)]

    def after(self, attempt):
        """Return the same turn, as another attempt of the run sees it."""
        return Turn(self.client, self.talk.rpartition("/")[2], self.run_id, attempt)

    async def begin(self, *texts, **options):
        body = {"attempt": self.attempt, "items": self.notes(*texts), **options}
        return await self.client.put(self.path, json=body)

    async def forget(self):
        return await self.client.delete(self.path, params={"attempt": self.attempt})

    async def append(self, *items):
        body = {"attempt": self.attempt, "items": items}
        return await self.client.post(f"{self.path}/items", json=body)

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
    """Return a function that gives a turn in Bob's conversation."""
    conversation_id = uuid4()
    return lambda run_id=None: Turn(service(*bob), conversation_id, run_id)


def is_superseded(answer):
    return (answer.status_code, answer.json().get("code")) == (409, "turn_superseded")


@pytest.fixture
def listed(person, bob):
    """Return a function that gives Bob's one conversation as he sees it in his list."""

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


async def test_returns_earlier_items_oldest_first(turn):
    first, second = turn(), turn()
    await first.begin("one")
    await first.append(note(f"{first.run_id}-0002", "two", "assistant"))

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
        answer = await first.client.put(first.path, json={"attempt": 1, "items": items})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_item_id")
        assert (await first.append(*items)).json()["code"] == "invalid_item_id"

    assert (await first.client.get(f"{first.talk}/items")).status_code == 404


async def test_refuses_an_item_above_its_size(turn):
    first = turn()

    answer = await first.begin("x" * 6 * 1024 * 1024)

    assert (answer.status_code, answer.json()["code"]) == (413, "item_too_large")
    assert (await first.client.get(f"{first.talk}/items")).status_code == 404


# Of four bytes each, which are words, letters of a script without spaces, and neither.
LONG = {
    "words": " ".join(chr(0x10400 + number % 80) + f"{number:x}" for number in range(200_000)),
    "four byte words": " ".join(
        chr(0x10400 + number % 80) + chr(0x10400 + number // 80 % 80) + chr(0x10400 + number // 6400)
        for number in range(250_000)
    ),
    "four byte letters": "".join(chr(0x20000 + number % 40_000) for number in range(1_000_000)),
    "no words": "\U0001f600" * 1_000_000,
    "control characters": "\u0001" * 999_990 + "harbour",
}


@pytest.mark.parametrize("kind", LONG)
async def test_stores_and_returns_a_message_of_a_million_characters(turn, kind):
    first = turn()
    data = {"role": "user", "content": f"Harbour {LONG[kind]}"[:1_000_000]}
    items = [{"id": f"{first.run_id}-0001", "data": data}]

    answer = await first.client.put(first.path, json={"attempt": 1, "items": items})

    assert (answer.status_code, answer.json()["items"][0]["data"]) == (200, data)
    results = (await first.client.get("/internal/v1/search", params={"query": "harbour"})).json()["items"]
    assert [one["snippet"][:7] for one in results] == ["Harbour"]


async def test_gives_data_back_as_it_came(turn):
    first = turn()
    data = {"output": 'π \U0001f600 \\u0000 "quoted"\n', "deep": [[{"": {}}], None, True, 1.5, -7, 10**30]}
    items = [{"id": f"{first.run_id}-0001", "data": data}]

    answer = await first.client.put(first.path, json={"attempt": 1, "items": items})

    assert answer.json()["items"][0]["data"] == data
    assert answer.headers["content-type"] == "application/json"


async def test_is_not_begun_in_the_conversation_of_another(turn, service):
    first = turn()
    await first.begin("mine")
    stranger = Turn(service(), first.talk.rpartition("/")[2])

    assert (await stranger.begin("theirs")).json()["code"] == "conversation_not_found"
    assert [one["data"]["content"] for one in await first.items()] == ["mine"]


async def test_twenty_turns_at_once_begin_one_conversation(turn, listed):
    answers = await asyncio.gather(*(turn().begin(f"{number}-a", f"{number}-b") for number in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    stored = await turn().items()
    assert [one["position"] for one in stored] == list(range(1, 41))
    assert [one["data"]["content"][-1] for one in stored] == ["a", "b"] * 20
    assert (await listed())["message_count"] == 40


async def test_keeps_one_of_twenty_equal_turns_that_come_at_once(turn):
    run_id = uuid4()
    answers = await asyncio.gather(*(turn(run_id).begin("same") for _ in range(20)))

    assert [texts(answer) for answer in answers] == [["same"]] * 20


async def test_costs_three_statements(turn, app):
    await turn().begin("one")
    statements = []
    engine = app.state.resources.database.engine.sync_engine

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
        answer = await second.forget()
        assert (answer.status_code, answer.content) == (204, b"")

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


async def test_takes_back_only_what_is_the_runs(turn, person, bob):
    first = turn()
    await first.begin("one")
    others = [note(f"x{first.run_id}-1", "a"), note(f"{first.run_id}", "b"), note(f"{first.run_id}x", "c")]
    items_path = f"{first.talk.replace('/internal', '/api')}/items"
    assert (await person(*bob).post(items_path, json={"items": others})).status_code == 200

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


async def test_a_title_that_was_set_stays(turn, listed):
    first = turn()
    await first.client.put(first.talk, json={"title": "Given"})
    await first.begin("A mistake")

    await first.forget()

    assert (await listed())["title"] == "Given"


async def test_takes_more_items_of_a_turn_once(turn, listed):
    first = turn()
    await first.begin("one")
    more = [note(f"{first.run_id}-{number:04}", str(number), "assistant") for number in (2, 3)]

    for _ in range(2):
        assert texts(await first.append(*more)) == ["2", "3"]

    assert [one["position"] for one in await first.items()] == [1, 2, 3]
    assert (await listed())["message_count"] == 3
    assert (await first.append(note(more[0]["id"], "else"))).json()["code"] == "item_conflict"


async def test_adds_nothing_to_a_conversation_that_is_not_there(turn):
    first = turn()

    answer = await first.append(note(f"{first.run_id}-0001"))

    assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")
    assert (await first.forget()).status_code == 404


async def test_whoever_was_taken_for_dead_changes_nothing_any_more(turn, listed):
    late = turn()
    newest = late.after(2)
    assert texts(await late.begin("one")) == ["one"]
    assert texts(await late.append(note(f"{late.run_id}-0002", "said in time"))) == ["said in time"]

    assert texts(await newest.begin("one")) == ["one", "said in time"]
    before = await listed()

    assert is_superseded(await late.append(note(f"{late.run_id}-0003", "said too late")))
    assert is_superseded(await late.append(note(f"{late.run_id}-0002", "said in time")))
    assert is_superseded(await late.begin("one"))
    assert is_superseded(await late.forget())
    assert await listed() == before
    assert texts(await newest.append(note(f"{late.run_id}-0003", "the answer"))) == ["the answer"]
    assert [one["data"]["content"] for one in await late.items()] == ["one", "said in time", "the answer"]


async def test_who_has_never_begun_shuts_older_ones_out_by_the_first_thing_it_does(turn):
    await turn().begin("before")
    for do in (Turn.begin, lambda one: one.append(note(f"{one.run_id}-1")), Turn.forget):
        late = turn()
        await late.begin("one")
        assert (await do(late.after(3))).is_success
        assert is_superseded(await late.after(2).begin())


async def test_a_turn_that_was_taken_back_stays_taken_back(turn):
    late = turn()
    await late.begin("one")
    assert (await late.after(2).forget()).status_code == 204

    assert is_superseded(await late.begin("one"))
    assert await late.items() == []


async def test_other_turns_of_the_conversation_are_not_concerned(turn):
    first, second = turn(), turn()
    await first.after(7).begin("one")

    assert texts(await second.begin("two")) == ["one", "two"]


async def test_of_many_attempts_at_once_the_newest_has_the_last_word(turn):
    await turn().begin("before")
    first = turn()
    attempts = [first.after(number) for number in range(1, 21)]

    answers = await asyncio.gather(*(one.append(note(f"{one.run_id}-{one.attempt}")) for one in attempts))

    assert answers[-1].status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert [is_superseded(await one.begin()) for one in attempts] == [True] * 19 + [False]
    stored = [int(one["id"].rpartition("-")[2]) for one in (await first.items())[1:]]
    assert stored == sorted(stored)
    assert len(stored) == sum(answer.is_success for answer in answers)


async def test_what_is_known_of_turns_goes_with_the_conversation(turn, person, bob, app):
    first = turn()
    await first.after(2).begin("one")
    conversation_id = first.talk.rpartition("/")[2]

    assert (await person(*bob).delete(f"/api/v1/conversations/{conversation_id}")).status_code == 204

    async with app.state.resources.database.begin() as db:
        assert await db.get(models.Turn, (UUID(conversation_id), first.run_id)) is None


class TestSupersede:
    async def test_what_an_edit_has_superseded_is_left_out(self, turn, listed, person, bob):
        first, second, edited = turn(), turn(), turn()
        await first.begin("Hello")
        await second.begin("Tell me about kiwis")
        await second.append(note(f"{second.run_id}-0002", "Kiwis are birds", "assistant"))

        answer = await edited.begin("Tell me about emus", supersedes_after=1)

        assert texts(answer) == ["Hello", "Tell me about emus"]
        again = await edited.begin("Tell me about emus", supersedes_after=1)
        assert texts(again) == ["Hello", "Tell me about emus"]
        client = person(*bob)
        conversation = await listed()
        assert (conversation["message_count"], conversation["last_message"]) == (2, "Tell me about emus")
        path = f"/api/v1/conversations/{conversation['conversation_id']}"
        detail = (await client.get(path)).json()
        assert [one["content"] for one in detail["messages"]] == ["Hello", "Tell me about emus"]
        current = (await client.get(f"{path}/items")).json()["items"]
        assert [one["superseded_by"] for one in current] == [None, None]
        everything = (await client.get(f"{path}/items?include_superseded=true")).json()["items"]
        assert [one["superseded_by"] for one in everything] == [
            None,
            str(edited.run_id),
            str(edited.run_id),
            None,
        ]
        response = await client.get("/api/v1/conversations/search", params={"query": "kiwis"})
        assert response.json()["items"] == []

    async def test_its_run_reads_what_it_has_superseded(self, turn):
        edited = turn()
        await turn().begin("Hello")
        await edited.begin("Goodbye", supersedes_after=0)
        path = f"{edited.talk}/items"

        assert texts(await edited.client.get(path)) == ["Goodbye"]
        own = await edited.client.get(path, params={"superseded_by": str(edited.run_id)})
        assert texts(own) == ["Hello", "Goodbye"]

    async def test_a_title_is_that_of_the_first_message(self, turn, listed):
        await turn().begin("Helo")

        await turn().begin("Hello", supersedes_after=0)

        assert (await listed())["title"] == "Hello"

    async def test_a_run_that_is_rolled_back_supersedes_nothing(self, turn, listed):
        first, edited = turn(), turn()
        await first.begin("Hello")
        await edited.begin("Goodbye", supersedes_after=0)

        await edited.forget()

        assert [one["data"]["content"] for one in await first.items()] == ["Hello"]
        conversation = await listed()
        assert (conversation["message_count"], conversation["last_message"]) == (1, "Hello")

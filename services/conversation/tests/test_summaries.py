"""Summaries that agents read in place of other items: visible, replaceable, and gone with what they say."""

from uuid import uuid4

import pytest

from .test_turns import Turn, note, texts


@pytest.fixture
def bob():
    return uuid4(), f"user:{uuid4()}"


class Talk:
    """Bob's conversation, as the service and as he uses it."""

    def __init__(self, service, person, bob):
        self.client, self.bob = service(*bob), person(*bob)
        self.id = str(uuid4())
        self.inside = f"/internal/v1/conversations/{self.id}"
        self.outside = f"/api/v1/conversations/{self.id}"

    def turn(self):
        return Turn(self.client, self.id)

    async def say(self, question, answer):
        turn = self.turn()
        await turn.begin(question)
        await turn.append(note(f"{turn.run_id}-0002", answer, "assistant"))
        return turn

    async def summarize(self, text="In short.", until=2, count=2, name="summary-1", **more):
        body = {"text": text, "first_position": 1, "last_position": until, "item_count": count, **more}
        return await self.client.put(f"{self.inside}/summaries/{name}", json=body)

    async def next_turn(self, text="And now?", **options):
        """Return what a run that begins now reads."""
        answer = await self.turn().begin(text, compacted=True, **options)
        return [one["data"].get("content", one["data"].get("text")) for one in answer.json()["items"]]

    async def listed(self):
        return (await self.bob.get(f"{self.outside}/items")).json()["items"]


@pytest.fixture
async def talk(service, person, bob):
    talk = Talk(service, person, bob)
    await talk.say("one", "two")
    await talk.say("three", "four")
    return talk


async def test_agents_read_a_summary_in_place_of_what_it_stands_for(talk):
    stored = await talk.summarize()

    assert stored.status_code == 200, stored.text
    assert await talk.next_turn() == ["In short.", "three", "four", "And now?"]
    assert await talk.next_turn("Then?") == ["In short.", "three", "four", "And now?", "Then?"]
    assert await talk.next_turn("Last", last=2) == ["In short.", "Then?", "Last"]
    history = (await talk.client.get(f"{talk.inside}/history")).json()["items"]
    assert [one["kind"] for one in history] == ["summary", *["item"] * 5]
    begun = (await talk.turn().begin("So?", compacted=True)).json()["items"]
    for summary, *items in (history, begun):
        assert summary["summarizes"] == {"first_position": 1, "last_position": 2}
        assert {one["summarizes"] for one in items} == {None}


async def test_who_does_not_know_summaries_reads_the_items(talk):
    await talk.summarize()

    assert texts(await talk.turn().begin("And now?")) == ["one", "two", "three", "four", "And now?"]
    assert [one["data"]["content"] for one in await talk.turn().items()][:2] == ["one", "two"]
    page = (await talk.client.get(f"{talk.inside}/item-list")).json()["items"]
    assert [one["kind"] for one in page] == ["item"] * 5


async def test_a_summary_is_listed_with_what_it_stands_for(talk):
    await talk.summarize()

    *items, summary = await talk.listed()
    assert [(one["kind"], one["summarizes"]) for one in items] == [("item", None)] * 4
    assert summary["kind"] == "summary"
    assert summary["data"] == {"type": "summary", "text": "In short."}
    assert summary["summarizes"] == {"first_position": 1, "last_position": 2}
    conversation = (await talk.bob.get(talk.outside)).json()
    assert (conversation["message_count"], conversation["last_message"]) == (4, "four")
    assert [one["content"] for one in conversation["messages"]] == ["one", "two", "three", "four"]


async def test_a_person_edits_and_deletes_a_summary(talk):
    await talk.summarize()
    path = f"{talk.outside}/summaries/summary-1"

    edited = await talk.bob.patch(path, json={"text": "In other words."})
    assert edited.json()["data"]["text"] == "In other words."
    assert (await talk.next_turn())[:2] == ["In other words.", "three"]
    assert (await talk.bob.delete(path)).status_code == 204
    assert (await talk.next_turn("Then?"))[:3] == ["one", "two", "three"]
    gone = await talk.bob.delete(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "summary_not_found")
    no_summary = await talk.bob.delete(f"{talk.outside}/summaries/{(await talk.listed())[0]['id']}")
    assert (no_summary.status_code, no_summary.json()["code"]) == (404, "summary_not_found")


async def test_the_next_summary_stands_for_the_one_before(talk):
    await talk.summarize()
    second = await talk.summarize("Shorter.", 4, 2, "summary-2", replaces="summary-1")

    assert second.status_code == 200, second.text
    assert await talk.next_turn() == ["Shorter.", "And now?"]
    await talk.bob.delete(f"{talk.outside}/summaries/summary-2")
    assert await talk.next_turn("Then?") == ["In short.", "three", "four", "And now?", "Then?"]


async def test_storing_a_summary_again_changes_nothing(talk):
    first = await talk.summarize()

    again = await talk.summarize("Other words.")

    assert again.json() == first.json()
    assert len(await talk.listed()) == 5


@pytest.mark.parametrize("other", [{"count": 3}, {"replaces": "summary-0"}, {"until": 3}])
async def test_a_summary_of_another_history_is_refused(talk, other):
    answer = await talk.summarize(**other)

    assert (answer.status_code, answer.json()["code"]) == (409, "history_changed")
    assert len(await talk.listed()) == 4


async def test_an_edit_supersedes_the_summary_of_what_it_replaces(talk):
    await talk.summarize(until=4, count=4)

    edit = talk.turn()
    answer = await edit.begin("not three", compacted=True, supersedes_after=2)
    assert texts(answer) == ["one", "two", "not three"]
    assert [one["kind"] for one in await talk.listed()] == ["item"] * 3
    await edit.forget()
    assert await talk.next_turn() == ["In short.", "And now?"]


async def test_an_edit_of_what_came_later_leaves_the_summary(talk):
    await talk.summarize()

    assert await talk.next_turn("not three", supersedes_after=2) == ["In short.", "not three"]


async def test_a_summary_is_deleted_with_an_item_that_it_stands_for(talk):
    await talk.summarize()
    first, *_ = await talk.listed()
    before = (await talk.client.get(f"{talk.inside}/items")).json()["items"]

    assert (await talk.client.delete(f"{talk.inside}/items/{before[2]['id']}")).status_code == 204
    assert [one["kind"] for one in await talk.listed()] == ["item"] * 3 + ["summary"]
    assert (await talk.client.delete(f"{talk.inside}/items/{first['id']}")).status_code == 204
    assert [one["kind"] for one in await talk.listed()] == ["item"] * 2
    assert await talk.next_turn() == ["two", "four", "And now?"]


async def test_a_cleared_conversation_has_no_summary(talk):
    await talk.summarize()

    await talk.client.delete(f"{talk.inside}/items")

    assert await talk.listed() == []
    assert await talk.next_turn() == ["And now?"]

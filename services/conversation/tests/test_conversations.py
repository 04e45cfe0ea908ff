from datetime import datetime
from uuid import uuid4

import pytest

CONVERSATIONS = "/api/v1/conversations"


def message(item_id, role, text):
    return {"id": item_id, "data": {"role": role, "content": text}}


async def test_begins_empty(ann):
    answer = await ann.post(CONVERSATIONS, json={})

    assert answer.status_code == 201
    conversation = answer.json()
    assert conversation["title"] is None
    assert conversation["message_count"] == 0
    assert conversation["last_message"] is None
    assert datetime.fromisoformat(conversation["created_at"]).utcoffset().total_seconds() == 0


async def test_returns_messages_with_their_roles(ann, begin):
    conversation_id = await begin(ann, "Hello", title="Greetings")
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "Hello to you.", "annotations": []},
            {"type": "refusal", "refusal": "I cannot sing."},
        ],
    }
    call = {"type": "function_call", "call_id": "c1", "name": "current_time", "arguments": "{}"}
    items = [{"id": "a", "data": call}, {"id": "b", "data": reply}]
    await ann.post(f"{CONVERSATIONS}/{conversation_id}/items", json={"items": items})

    conversation = (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).json()

    assert [(one["id"], one["role"], one["content"]) for one in conversation["messages"]] == [
        ("m1", "user", "Hello"),
        ("b", "assistant", "Hello to you.\nI cannot sing."),
    ]
    assert conversation["message_count"] == 2
    assert conversation["last_message"] == "Hello to you. I cannot sing."
    assert conversation["title"] == "Greetings"


async def test_shows_which_answer_was_cut_off(ann, begin):
    conversation_id = await begin(ann, "Tell me everything")
    reply = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "In the begi"}],
    }
    items = [
        {"id": "a", "data": {**reply, "status": "incomplete"}},
        {"id": "b", "data": {**reply, "status": "completed"}},
        {"id": "c", "data": {**reply, "status": ["incomplete"]}},
    ]
    await ann.post(f"{CONVERSATIONS}/{conversation_id}/items", json={"items": items})

    messages = (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).json()["messages"]

    assert [one["is_incomplete"] for one in messages] == [False, True, False, False]


async def test_takes_its_title_from_the_first_thing_the_user_says(ann, begin):
    conversation_id = await begin(ann, "  What is\n\n the\ttime" + " now" * 50, "And tomorrow?")

    title = (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).json()["title"]

    assert title.startswith("What is the time now now")
    assert len(title) <= 80


async def test_takes_no_title_from_the_assistant(ann, begin):
    conversation_id = await begin(ann)
    items = [message("a", "assistant", "May I help?"), message("b", "user", "Yes")]
    await ann.post(f"{CONVERSATIONS}/{conversation_id}/items", json={"items": items})

    assert (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).json()["title"] == "Yes"


async def test_cuts_the_last_message_and_puts_it_on_one_line(ann, begin):
    await begin(ann, "line\n" * 100)

    [listed] = (await ann.get(CONVERSATIONS)).json()["items"]

    assert listed["last_message"].startswith("line line line")
    assert len(listed["last_message"]) <= 120


async def test_shows_the_newest_messages_of_a_long_conversation(ann, begin):
    conversation_id = await begin(ann)
    for start in (0, 100, 200):
        items = [message(f"m{number}", "user", str(number)) for number in range(start, start + 100)]
        await ann.post(f"{CONVERSATIONS}/{conversation_id}/items", json={"items": items})

    conversation = (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).json()

    assert [int(one["content"]) for one in conversation["messages"]] == list(range(100, 300))
    assert conversation["message_count"] == 300


async def test_lists_the_one_with_the_newest_items_first(ann, begin):
    first, second = await begin(ann, "one"), await begin(ann, "two")
    await ann.post(f"{CONVERSATIONS}/{first}/items", json={"items": [message("x", "user", "again")]})

    listed = (await ann.get(CONVERSATIONS)).json()["items"]

    assert [one["conversation_id"] for one in listed] == [first, second]


async def test_deletes_a_conversation_with_all_its_items(ann, begin):
    conversation_id = await begin(ann, "a secret")

    gone = await ann.delete(f"{CONVERSATIONS}/{conversation_id}")

    assert (gone.status_code, gone.content) == (204, b"")
    assert (await ann.get(f"{CONVERSATIONS}/{conversation_id}")).status_code == 404
    assert (await ann.get(f"{CONVERSATIONS}/search", params={"query": "secret"})).json()["items"] == []


@pytest.mark.parametrize("times", [1, 2])
async def test_knows_nothing_of_what_was_deleted_or_never_was(ann, begin, times):
    conversation_id = await begin(ann) if times == 2 else uuid4()
    for _ in range(times):
        answer = await ann.delete(f"{CONVERSATIONS}/{conversation_id}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "conversation_not_found"


async def test_begins_one_conversation_however_often_the_request_is_retried(ann):
    retried = {"Idempotency-Key": "begin-1"}
    first = await ann.post(CONVERSATIONS, json={"title": "Once"}, headers=retried)
    again = await ann.post(CONVERSATIONS, json={"title": "Once"}, headers=retried)

    assert again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len((await ann.get(CONVERSATIONS)).json()["items"]) == 1


async def test_keeps_the_title_on_one_line(ann):
    answer = await ann.post(CONVERSATIONS, json={"title": "  Two\n lines "})

    assert answer.json()["title"] == "Two lines"

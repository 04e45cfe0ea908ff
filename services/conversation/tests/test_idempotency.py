"""A replay is authorised as a fresh request is."""

from uuid import uuid4

from testkit.replays import PreparedRequest, find_wrong_replays
from testkit.token_matrix import TENANT, USER

from .test_turns import Turn

CONVERSATIONS = "/api/v1/conversations"


async def a_beginning(owner):
    return PreparedRequest(CONVERSATIONS, {"title": "Plans"})


async def another_title(owner):
    return PreparedRequest(f"{CONVERSATIONS}/{await conversation(owner)}", {"title": "Plans"})


async def an_end(owner):
    return PreparedRequest(f"{CONVERSATIONS}/{await conversation(owner)}")


async def an_addition(owner):
    items = [{"id": "m1", "data": {"role": "user", "content": "Hello"}}]
    return PreparedRequest(f"{CONVERSATIONS}/{await conversation(owner)}/items", {"items": items})


async def conversation(owner):
    return (await owner.post(CONVERSATIONS, json={})).json()["conversation_id"]


MAKERS = {
    ("POST", CONVERSATIONS): a_beginning,
    ("PATCH", CONVERSATIONS + "/{conversation_id}"): another_title,
    ("DELETE", CONVERSATIONS + "/{conversation_id}"): an_end,
    ("POST", CONVERSATIONS + "/{conversation_id}/items"): an_addition,
}


async def test_a_replay_is_refused_as_a_fresh_request_is(app, issuer, service):
    inside = service(TENANT, USER)

    async def summary():
        turn = Turn(inside, uuid4())
        await turn.begin("one", "two")
        body = {"text": "In short.", "first_position": 1, "last_position": 1, "item_count": 1}
        (await inside.put(f"{turn.talk}/summaries/summary-1", json=body)).raise_for_status()
        return f"{turn.talk.replace('/internal/', '/api/')}/summaries/summary-1"

    async def another_text(_owner):
        return PreparedRequest(await summary(), {"text": "Shorter."})

    async def the_end_of_a_summary(_owner):
        return PreparedRequest(await summary())

    path = CONVERSATIONS + "/{conversation_id}/summaries/{summary_id}"
    makers = {**MAKERS, ("PATCH", path): another_text, ("DELETE", path): the_end_of_a_summary}
    assert await find_wrong_replays(app, issuer, makers) == []

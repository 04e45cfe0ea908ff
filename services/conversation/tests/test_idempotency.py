"""A replay is authorised as a fresh request is."""

from testkit.replays import PreparedRequest, find_wrong_replays

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


async def test_a_replay_is_refused_as_a_fresh_request_is(app, issuer):
    assert await find_wrong_replays(app, issuer, MAKERS) == []

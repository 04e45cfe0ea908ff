"""References to items by the ids under which clients know them."""

import re
from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal

from chat_agent.errors import ConversationNotFound, ItemNotFound, RunNotFound
from chat_agent.execution import subscribe
from chat_agent.execution.manager import RunManager
from chat_agent.protocols.encoder import feed
from chat_agent.protocols.openai.conversation_items import Json, item_of, stored_id
from chat_agent.protocols.openai.requests import InputItem, ResponseRequest
from chat_agent.protocols.openai.responses_stream import ResponseStream
from chat_agent.protocols.openai.stored_responses import find_response

REFERENCE = "item_reference"
# An item of a response's output: the run and its place; one of a conversation: the run and its number.
OF_RESPONSE = re.compile(r"[a-z]{1,16}_([0-9a-f]{32})_([0-9]{1,6})")
OF_RUN = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9]+")


async def resolve_references(
    manager: RunManager, caller: Principal, body: ResponseRequest, conversation_id: UUID | None
) -> ResponseRequest:
    """Return a request with the items that it refers to; raises ItemNotFound."""
    if isinstance(body.input, str) or not any(item.type == REFERENCE for item in body.input):
        return body
    resolved: list[InputItem] = []
    for index, item in enumerate(body.input):
        if item.type != REFERENCE:
            resolved.append(item)
            continue
        try:
            found = await find_item(manager, caller, item.id or "", conversation_id)
        except (RunNotFound, ConversationNotFound, ItemNotFound):
            place = f"input[{index}].id"
            raise ItemNotFound(f"There is no item with the id {item.id!r}.", param=place) from None
        resolved.append(InputItem.model_validate({**found, "content": found.get("content")}))
    return body.model_copy(update={"input": resolved})


async def find_item(manager: RunManager, caller: Principal, name: str, conversation_id: UUID | None) -> Json:
    """Return the item that a client knows by this id; raises ItemNotFound, RunNotFound."""
    if match := OF_RESPONSE.fullmatch(name):
        output = await output_of(manager, caller, match[1])
        if int(match[2]) >= len(output):
            raise ItemNotFound
        return output[int(match[2])]
    id_ = stored_id(name)
    if match := OF_RUN.fullmatch(id_):
        async with manager.database.begin() as session:
            run = await find_response(session, caller, f"resp_{UUID(match[1]).hex}")
        conversation_id = run.conversation_id
    if conversation_id is None:
        raise ItemNotFound
    return item_of(await manager.conversation_client(caller).item(conversation_id, id_))


async def output_of(manager: RunManager, caller: Principal, run_hex: str) -> Sequence[Json]:
    """Return the output of a response; raises RunNotFound."""
    async with manager.database.begin() as session:
        run = await find_response(session, caller, f"resp_{run_hex}")
    encoder = ResponseStream(run)
    feed(encoder, await subscribe.read_all(manager, run.id))
    return encoder.output

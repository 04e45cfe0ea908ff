"""What a run remembers: kept in as many steps as the conversation service takes at once."""

import httpx
import orjson
from chat_agent.clients.conversation import BATCH_BYTES, BATCH_ITEMS, StoredItem, in_batches
from hypothesis import given
from hypothesis import strategies as st

from .conftest import OtherServices

SIZES = st.lists(st.integers(0, 300_000) | st.integers(0, 50), max_size=300)


@given(SIZES)
def test_batches_are_the_items_and_as_few_as_fit(sizes: list[int]) -> None:
    items = [StoredItem(id=str(number), data={"t": "x" * size}) for number, size in enumerate(sizes)]
    matches = in_batches(items)
    assert [item for batch in matches for item in batch] == items
    assert all(matches) or matches == [[]]
    volumes = [sum(len(orjson.dumps(item.data)) for item in batch) for batch in matches]
    for batch, volume in zip(matches, volumes, strict=True):
        assert len(batch) <= BATCH_ITEMS
        assert volume <= BATCH_BYTES or len(batch) == 1
    firsts = [len(orjson.dumps(batch[0].data)) for batch in matches[1:]]
    for batch, volume, following in zip(matches, volumes, firsts, strict=False):
        assert len(batch) == BATCH_ITEMS or volume + following > BATCH_BYTES


def test_a_conversation_may_begin_with_as_much_as_a_request_holds(
    ann: httpx.Client, other_services: OtherServices
) -> None:
    before = [{"role": "user", "content": f"{number:02} {'ü' * 29_000}"} for number in range(17)]
    request = {"model": "triage", "messages": [*before, {"role": "user", "content": "Hello"}]}
    content = orjson.dumps(request)
    answer = ann.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    texts = [text for _, text in other_services.messages(answer.headers["acme-conversation-id"])]
    assert texts[:-1] == [one["content"] for one in request["messages"]]

import pytest
from billing_webhook.worker import HANDLERS
from servicekit.events.dead_letters import list_dead_letters, replay_dead_letter
from testkit.impatient_consumer import impatient_consumer


@pytest.fixture
async def laid_aside(settings, redis, until):
    """Wait for dead letters; the service's own reactions run under a consumer that gives up soon."""
    async with impatient_consumer("billing-webhook", settings, ("chat-agent",), HANDLERS):

        async def all_of(number):
            letters = await list_dead_letters(redis, "billing-webhook")
            return letters if len(letters) == number else None

        yield lambda number: until(lambda: all_of(number))


USED = {
    "model": "gpt",
    "requests": 1,
    "input_tokens": 1,
    "output_tokens": 0,
    "cached_tokens": 0,
    "reasoning_tokens": 0,
}


async def test_what_cannot_be_counted_is_laid_aside_whole_with_its_reason(laid_aside, ran):
    broken = [
        {"usage": [{"model": "gpt"}]},
        {"usage": [USED, USED]},
        {"usage": [{**USED, "input_tokens": -1}]},
        {"usage": [{**USED, "input_tokens": 10**20}]},
        {"usage": [{**USED, "model": ""}]},
        {"usage": "much"},
        {"tenant_id": "acme"},
        {"completed_at": "2026-11-01T00:00:00"},
    ]
    event_ids = {str(await ran(**change)) for change in broken}
    letters = await laid_aside(len(broken))
    assert {letter.fields[b"id"].decode() for letter in letters} == event_ids
    assert {letter.reason.partition(":")[0] for letter in letters} == {"ValidationError"}


async def test_what_was_laid_aside_does_not_hold_up_the_rest(ran, publish_event, runs):
    await ran(usage="much")
    await ran(("gpt", 3, 1))
    await publish_event({"of": "no interest"}, type="chat.run.failed.v1")
    await ran(("gpt", 4, 1))

    assert (await runs(2))["totals"]["input_tokens"] == 7


async def test_a_dead_letter_can_be_published_again(laid_aside, redis, ran, until):
    await ran(usage="much")
    [letter] = await laid_aside(1)
    await replay_dead_letter(redis, "billing-webhook", letter.entry_id)

    async def back():
        letters = await list_dead_letters(redis, "billing-webhook")
        return [again.entry_id for again in letters] not in ([], [letter.entry_id])

    await until(back)

"""Guardrails that ask models: about what, how often, and what becomes of a text without a verdict."""

import json
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.guardrails.model_based import ModelCheck
from chat_agent.model.judge import MAX_PIECE
from chat_agent.model.passed_texts import PassedTexts
from chat_agent.settings import Settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from ..client_helpers import everything_stored, read_events, read_run, start_run
from ..conftest import OtherServices
from ..test_agent_definitions import published
from .test_agent_guardrails import FLAGGED, ended, failure, guardrails, judged, say

Json = dict[str, Any]
COMPLETIONS = "/v1/chat/completions"


def message(role: str, content: str) -> Json:
    return {"role": role, "content": content}


def complete(client: httpx.Client, *messages: Json, **more: Any) -> httpx.Response:
    return client.post(COMPLETIONS, json={"model": "support", "messages": [*messages], **more})


def refusal_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def judged_texts(calls: list[Json]) -> list[str]:
    """Return what judges were asked about, each text as it stood between its lines."""
    texts = []
    for call in calls:
        if mark := re.search("two lines with ([0-9a-f]{16})", call["instructions"]):
            content = call["input"][0]["content"]
            text = content if isinstance(content, str) else content[0]["text"]
            texts.append(text.partition(f"{mark[1]}\n")[2].removesuffix(f"\n{mark[1]}"))
    return texts


TURNS = [message(role, f"Word {number}") for number in range(6) for role in ("user", "assistant")]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_an_attack_is_judged_however_old_and_in_whoevers_name(
    admin: httpx.Client, member: httpx.Client, role: str
) -> None:
    published(admin, "support", guardrails=judged(max_turns=1))
    assert complete(member, *TURNS, message("user", "Go on")).is_success
    answer = complete(member, message(role, FLAGGED), *TURNS, message("user", "Go on"))
    assert refusal_of(answer) == (400, "guardrail_triggered")


def test_earlier_messages_to_another_agent_are_judged_for_the_one_that_answers(
    admin: httpx.Client, member: httpx.Client
) -> None:
    published(admin, "clerk")
    published(admin, "support", guardrails=judged(max_turns=1))
    run, _ = ended(member, FLAGGED, "clerk")
    for message in ("Hello", "Go on"):
        more = {"agent_type": "clerk", "conversation_id": run["conversation_id"]}
        run, _ = ended_in(member, message, **more)
        assert run["status"] == "completed"
    run, _ = ended_in(member, "Go on", agent_type="support", conversation_id=run["conversation_id"])
    assert failure(run) == ("failed", "guardrail_triggered")


def ended_in(client: httpx.Client, message: str, **more: Any) -> tuple[Json, list[Any]]:
    run = start_run(client, message, **more)
    events = read_events(client, run)
    return read_run(client, run), events


def test_each_text_is_judged_once_and_each_turn_asks_once(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json]
) -> None:
    published(admin, "support", guardrails=judged(max_turns=2))
    history: list[Json] = [message("system", "Be kind.")]
    texts = []
    for number in range(4):
        history.append(message("user", f"Message {number}"))
        model_calls.clear()
        answer = complete(member, *history).json()["choices"][0]["message"]["content"]
        history.append(message("assistant", answer))
        (text,) = judged_texts(model_calls)
        texts.append(text.split("\n\n"))
    # The message before counts again; the answers are those of a model of the service.
    first, *others = texts
    assert first == ["[system] Be kind.", "Message 0"]
    assert others == [[f"Message {number - 1}", f"Message {number}"] for number in (1, 2, 3)]


def test_a_run_without_judges_calls_its_model_alone(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json]
) -> None:
    published(admin, "support", guardrails=guardrails("input", "Secret Keys"))
    model_calls.clear()
    assert complete(member, *TURNS, message("user", "Go on")).is_success
    assert len(model_calls) == 1


def test_a_long_text_is_judged_in_pieces(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json]
) -> None:
    published(admin, "support", guardrails=judged())
    long = "word " * (3 * MAX_PIECE // 5)
    model_calls.clear()
    assert complete(member, message("user", long)).is_success
    texts = judged_texts(model_calls)
    assert all(len(text) <= MAX_PIECE for text in texts)
    assert sum(map(len, texts)) >= len(long)
    assert refusal_of(complete(member, message("user", f"{long}{FLAGGED}"))) == (400, "guardrail_triggered")


CALL = {"id": "c1", "type": "function", "function": {"name": "shop", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "shop"}}


def test_the_output_of_a_callers_tool_is_judged_and_not_stored(
    admin: httpx.Client, member: httpx.Client, settings: Settings, other_services: OtherServices
) -> None:
    published(admin, "support", guardrails=judged("tool", "Prompt Injection Detection"))
    unique = str(uuid4())

    def give(output: str) -> httpx.Response:
        call_message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        output_message = {"role": "tool", "tool_call_id": "c1", "content": output}
        return complete(member, message("user", "Shop"), call_message, output_message, tools=[TOOL])

    assert give("It is open.").is_success
    assert refusal_of(give(f"{unique} {FLAGGED}")) == (400, "guardrail_triggered")
    assert unique not in everything_stored(settings) + str(other_services.items)


FAULTS = {
    "down": "error=400",
    "slow": "delay=30s",
    "nonsense": "malformed-output",
    "refusal": "refuse",
    "breaking off": "die-after=1",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_text_without_a_verdict_passes_only_where_the_guardrail_says_so(
    admin: httpx.Client, member: httpx.Client, settings: Settings, fault: str
) -> None:
    unique = str(uuid4())
    message = f"{unique} [sandbox: only=sandbox-small, {FAULTS[fault]}]"
    published(admin, "support", guardrails=judged(timeout_seconds=1))
    answer = say(member, message)
    assert (answer.status_code, answer.json()["code"]) == (503, "guardrail_unavailable")
    assert unique not in everything_stored(settings)
    published(admin, "support", guardrails=judged(timeout_seconds=1, on_error="allow"))
    assert say(member, message).is_success


def test_a_text_that_passed_unjudged_is_judged_when_the_judge_is_back(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json]
) -> None:
    published(admin, "support", guardrails=judged(max_turns=1, on_error="allow"))
    first = message("user", "First [sandbox: only=sandbox-small, error=400]")
    later = [*TURNS, message("user", "Go on")]
    assert complete(member, first).is_success
    model_calls.clear()
    assert complete(member, first, *later).is_success
    assert "First" in json.dumps(judged_texts(model_calls))


def test_a_text_that_passed_is_judged_again_where_redis_has_lost_that(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json], redis_url: str
) -> None:
    published(admin, "support", guardrails=judged(max_turns=1))
    unique = str(uuid4())
    history = [message("user", unique), *TURNS]
    judged_again = []
    with Redis.from_url(redis_url) as redis:
        for number in range(3):
            model_calls.clear()
            assert complete(member, *history, message("user", f"Go on {number}")).is_success
            judged_again.append(unique in json.dumps(judged_texts(model_calls)))
            if number == 1:
                redis.flushall()
    assert judged_again == [True, False, True]


async def test_without_redis_each_text_counts_as_new() -> None:
    check = ModelCheck(name="Jailbreak")
    async with AsyncRedis.from_url("redis://127.0.0.1:1") as nowhere:
        passed = PassedTexts(nowhere)
        await passed.add(check, "input", ["Hello"])
        assert await passed.unknown(check, "input", ["Hello"]) == {"Hello"}


def test_a_judge_that_costs_more_than_a_run_may_ends_it(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "support", guardrails=judged(on_error="allow"), limits={"tokens": 1})
    run, events = ended(member, "Hello")
    assert run["status"] == "failed"
    assert run["error_code"] not in {"guardrail_unavailable", "internal_error"}
    assert [event.type for event in events] == ["run.started", "run.failed"]

"""Encode one log in every protocol; run `run_scripts.py` to write the expected streams in `golden/` again."""

from pathlib import Path
from typing import Any

import pytest
from chat_agent.protocols.encoder import feed
from chat_agent.protocols.openai.chat_completions import ChatCompletion
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from .run_scripts import (
    APPROVAL,
    ENCODERS,
    END,
    FAILED,
    RUN,
    STARTED,
    Script,
    client_messages,
    complete_run,
    encode_all,
    events,
    item,
    item_start,
    text_of,
    tool_call,
    whole_item,
)

GOLDEN = Path(__file__).parent / "golden"
OPENAI = ["openai_chat", "openai_responses"]
COMPLETED = ("run.completed", END)
DELTAS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)

all_protocols = pytest.mark.parametrize("protocol", ENCODERS)


def types(received: list[Any]) -> list[str]:
    return [one["type"] for one in received if "type" in one]


def resumed(before: Script, *after: tuple[str, dict[str, Any]]) -> Script:
    """Lose the process in the middle of a message, and go on."""
    return [STARTED, *before, ("run.resumed", {"withdrawn": ["item_1"]}), *after, COMPLETED]


@all_protocols
def test_says_everything_as_agreed(protocol: str) -> None:
    assert (
        encode_all(ENCODERS[protocol](), complete_run()).decode() == (GOLDEN / f"{protocol}.txt").read_text()
    )


@pytest.mark.parametrize(
    ("protocol", "type_"), [("openai_chat", ChatCompletionChunk), ("openai_responses", ResponseStreamEvent)]
)
def test_what_is_sent_is_of_openais_types(protocol: str, type_: Any) -> None:
    call = {"call_id": "call_0", "output": "It is closed.", "failed": True}
    failed = [*tool_call("item_0", "call_0")[:3], item("item.completed", "item_0a", "tool_output", **call)]
    started, *rest = complete_run()
    expected = TypeAdapter(type_)
    # Their client does not validate what it reads.
    for message in client_messages(protocol, [started, *failed, *rest]):
        expected.validate_python(message)


@all_protocols
@given(messages=st.lists(DELTAS, min_size=1, max_size=3), thoughts=DELTAS)
def test_the_deltas_are_the_text(protocol: str, messages: list[list[str]], thoughts: list[str]) -> None:
    script = [STARTED, *whole_item("item_0", *thoughts, kind="reasoning")]
    for number, deltas in enumerate(messages, 1):
        script += whole_item(f"item_{number}", *deltas)
    received = client_messages(protocol, [*script, COMPLETED])
    between = "\n\n" if protocol == "openai_chat" else ""
    assert text_of(protocol, received) == between.join("".join(deltas) for deltas in messages)


@pytest.mark.parametrize("protocol", OPENAI)
@given(deltas=DELTAS, again=st.integers(1, 7), lost=st.integers(0, 5), twice=st.booleans())
def test_the_same_text_again_continues_the_stream(
    protocol: str, deltas: list[str], again: int, lost: int, twice: bool
) -> None:
    text = "".join(deltas)
    retold = [text[at : at + again] for at in range(0, len(text), again)]
    half = item_start("item_1", deltas[:lost])
    if twice:
        half += [("run.resumed", {"withdrawn": ["item_1"]}), *item_start("item_1", retold[: lost // 2])]
    received = client_messages(protocol, resumed(half, *whole_item("item_2", *retold)))
    assert text_of(protocol, received) == text
    assert not any("error" in one for one in received)


@pytest.mark.parametrize("protocol", OPENAI)
@pytest.mark.parametrize("anew", [("Hola",), ("H", "i"), ("Hel",), ()])
def test_other_text_ends_an_openai_stream(protocol: str, anew: tuple[str, ...]) -> None:
    after = whole_item("item_2", *anew) if anew else tool_call("item_2", "call_1")
    received = client_messages(protocol, resumed(item_start("item_1", ["Hell"]), *after))
    assert received[-1]["error"]["code"] == "answer_withdrawn"
    assert text_of(protocol, received) == "Hell"


@pytest.mark.parametrize("protocol", OPENAI)
def test_a_whole_message_that_comes_again_is_not_sent_twice(protocol: str) -> None:
    again = [*whole_item("item_2", "Hel", "lo"), *tool_call("item_3", "call_1"), *whole_item("item_4", "Bye")]
    received = client_messages(protocol, resumed(whole_item("item_1", "Hello"), *again))
    assert text_of(protocol, received) == ("Hello\n\nBye" if protocol == "openai_chat" else "HelloBye")
    assert not any("error" in one for one in received)


@pytest.mark.parametrize("protocol", OPENAI)
@pytest.mark.parametrize("anew", [("Hello", " again"), ("Hell",)])
def test_a_whole_message_with_other_text_ends_an_openai_stream(protocol: str, anew: tuple[str, ...]) -> None:
    received = client_messages(protocol, resumed(whole_item("item_1", "Hello"), *whole_item("item_2", *anew)))
    assert received[-1]["error"]["code"] == "answer_withdrawn"
    assert text_of(protocol, received) == "Hello"


def test_openai_responses_end_a_call_that_was_withdrawn() -> None:
    received = client_messages(
        "openai_responses", resumed(tool_call("item_1", "call_1")[:3], *tool_call("item_2", "call_2"))
    )
    output = received[-1]["response"]["output"]
    assert [(one["type"], one["status"]) for one in output] == [
        ("mcp_call", "incomplete"),
        ("mcp_call", "completed"),
    ]


def test_ui_messages_end_a_call_that_was_withdrawn() -> None:
    call: dict[str, Any] = {"call_id": "call_1", "name": "current_time", "arguments": "{}"}
    half = [
        ("item.completed", {"item": {"id": "item_1", "kind": "tool_call", **call}}),
        ("tool.called", call),
    ]
    received = client_messages("ui_messages", resumed(half, *tool_call("item_2", "call_2")))
    assert [one["toolCallId"] for one in received if one["type"] == "tool-output-error"] == ["call_1"]
    assert [one["toolCallId"] for one in received if one["type"] == "tool-output-available"] == ["call_2"]


def test_ag_ui_hears_what_was_withdrawn() -> None:
    received = client_messages(
        "ag_ui", resumed(item_start("item_1", ["Hell"]), *whole_item("item_2", "Hola"))
    )
    messages = [one["messageId"] for one in received if one["type"] == "TEXT_MESSAGE_START"]
    ended = [one["messageId"] for one in received if one["type"] == "TEXT_MESSAGE_END"]
    (custom,) = [one for one in received if one["type"] == "CUSTOM"]
    assert messages == ended
    assert (custom["name"], custom["value"]) == ("run.resumed", {"withdrawn": messages[:1]})


def test_ui_messages_mark_what_was_withdrawn() -> None:
    received = client_messages(
        "ui_messages", resumed(item_start("item_1", ["Hell"]), *whole_item("item_2", "Hola"))
    )
    first, second = (one for one in received if one["type"] == "text-end")
    assert (first["id"], first["providerMetadata"]) == ("item_1", {"acme": {"withdrawn": True}})
    assert (second["id"], second.get("providerMetadata")) == ("item_2", None)
    assert {"type": "data-withdrawn", "data": {"ids": ["item_1"]}} in received


def test_a_whole_answer_holds_nothing_that_was_withdrawn() -> None:
    protocol = ChatCompletion(RUN)
    feed(protocol, events(resumed(item_start("item_1", ["Hell"]), *whole_item("item_2", "Hola"))))
    assert protocol.completion()["choices"][0]["message"]["content"] == "Hola"


@all_protocols
def test_a_refusal_and_a_cut_answer_are_distinguished(protocol: str) -> None:
    refused = client_messages(protocol, [STARTED, *whole_item("item_1", "No.", refusal=True), COMPLETED])
    cut = client_messages(
        protocol, [STARTED, *whole_item("item_1", "And then", incomplete=True), ("run.cancelled", END)]
    )
    reasons = {
        "openai_chat": lambda received: received[-2]["choices"][0]["finish_reason"],
        "openai_responses": lambda received: (
            received[-1]["response"]["status"],
            received[-1]["response"]["output"][0]["content"][0]["type"],
            received[-1]["response"]["output"][0]["status"],
        ),
        "ag_ui": lambda received: received[-1]["outcome"]["type"],
        "ui_messages": lambda received: received[-1]["finishReason"],
    }
    expected = {
        "openai_chat": ("content_filter", "stop"),
        "openai_responses": (
            ("completed", "refusal", "completed"),
            ("cancelled", "output_text", "incomplete"),
        ),
        "ag_ui": ("success", "cancelled"),
        "ui_messages": ("content-filter", "other"),
    }
    assert (reasons[protocol](refused), reasons[protocol](cut)) == expected[protocol]


WAITING: Script = [STARTED, ("approval.required", APPROVAL), ("run.waiting", END)]
CANCELLED: Script = [STARTED, *item_start("item_1", ["Hel"]), ("run.cancelled", END)]
BROKEN: Script = [STARTED, *item_start("item_1", ["Hel"]), FAILED]


def test_openai_chat_ends_however_a_run_ends() -> None:
    assert client_messages("openai_chat", WAITING)[1]["acme"] == {
        "type": "approval.required",
        "seq": 2,
        **APPROVAL,
    }
    for script in (WAITING, CANCELLED):
        last = client_messages("openai_chat", script)[-2]
        assert (last["choices"][0]["finish_reason"], last["acme"]["type"]) == ("stop", script[-1][0])
    assert client_messages("openai_chat", BROKEN)[-1]["error"]["code"] == "model_unavailable"


def test_openai_responses_end_however_a_run_ends() -> None:
    waiting, cancelled, broken = (
        client_messages("openai_responses", one) for one in (WAITING, CANCELLED, BROKEN)
    )
    assert [one["type"] for one in waiting[-1]["response"]["output"]] == ["mcp_approval_request"]
    assert cancelled[-1]["response"]["status"] == "cancelled"
    assert cancelled[-1]["response"]["output"][0]["status"] == "incomplete"
    assert types(broken)[-2:] == ["response.failed", "error"]
    assert broken[-2]["response"]["error"]["code"] == broken[-1]["code"] == "model_unavailable"


def test_ag_ui_ends_however_a_run_ends() -> None:
    waiting, cancelled, broken = (client_messages("ag_ui", one) for one in (WAITING, CANCELLED, BROKEN))
    request = {"run_id": str(RUN.id), **APPROVAL}
    del request["call_id"]
    assert {"type": "CUSTOM", "name": "approval.required", "value": request} in waiting
    assert waiting[-1]["result"]["status"] == "waiting"
    (interrupt,) = waiting[-1]["outcome"]["interrupts"]
    assert (interrupt["id"], interrupt["toolCallId"]) == ("ap_1", "call_1")
    assert types(cancelled)[-3:] == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    assert cancelled[-1]["outcome"] == {"type": "cancelled"}
    assert (broken[-1]["type"], broken[-1]["code"]) == ("RUN_ERROR", "model_unavailable")


def test_ui_messages_end_however_a_run_ends() -> None:
    waiting, cancelled, broken = (client_messages("ui_messages", one) for one in (WAITING, CANCELLED, BROKEN))
    request = {"run_id": str(RUN.id), **APPROVAL}
    del request["call_id"]
    assert {"type": "tool-approval-request", "approvalId": "ap_1", "toolCallId": "call_1"} in waiting
    assert {"type": "data-approval-required", "id": "ap_1", "data": request} in waiting
    assert types(cancelled)[-4:] == ["text-end", "abort", "finish-step", "finish"]
    assert types(broken)[-5:] == ["text-end", "data-error", "error", "finish-step", "finish"]


@all_protocols
def test_a_run_that_never_began_ends_like_any_other(protocol: str) -> None:
    cancelled = ("run.cancelled", END)
    never, started = client_messages(protocol, [cancelled]), client_messages(protocol, [STARTED, cancelled])
    assert types(never) == types(started)


@all_protocols
def test_what_nobody_has_words_for_is_passed_over(protocol: str) -> None:
    script = complete_run()
    assert (
        client_messages(protocol, [*script[:-1], ("weather.changed", {}), script[-1]])[:-1]
        == client_messages(protocol, script)[:-1]
    )

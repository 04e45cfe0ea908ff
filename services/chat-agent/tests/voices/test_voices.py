"""One log in all its voices. `golden/` holds what each says; `scripted.py` writes it anew when it is run."""

from pathlib import Path
from typing import Any

import pytest
from chat_agent.protocols.encoder import hear
from chat_agent.protocols.openai.chat_completions import ChatCompletion
from hypothesis import given
from hypothesis import strategies as st

from .scripted import (
    APPROVAL,
    END,
    FAILED,
    RUN,
    STARTED,
    VOICES,
    Script,
    begun,
    called,
    events,
    everything,
    heard,
    said,
    spoken,
    text_of,
)

GOLDEN = Path(__file__).parent / "golden"
OPENAI = ["openai_chat", "openai_responses"]
COMPLETED = ("run.completed", END)
DELTAS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)

voices = pytest.mark.parametrize("voice", VOICES)


def types(told: list[Any]) -> list[str]:
    return [one["type"] for one in told if "type" in one]


def resumed(before: Script, *after: tuple[str, dict[str, Any]]) -> Script:
    """Lose the process in the middle of a message, and go on."""
    return [STARTED, *before, ("run.resumed", {"withdrawn": ["item_1"]}), *after, COMPLETED]


@voices
def test_says_everything_as_agreed(voice: str) -> None:
    assert spoken(VOICES[voice](), everything()).decode() == (GOLDEN / f"{voice}.txt").read_text()


@voices
@given(messages=st.lists(DELTAS, min_size=1, max_size=3), thoughts=DELTAS)
def test_the_deltas_are_the_text(voice: str, messages: list[list[str]], thoughts: list[str]) -> None:
    script = [STARTED, *said("item_0", *thoughts, kind="reasoning")]
    for number, deltas in enumerate(messages, 1):
        script += said(f"item_{number}", *deltas)
    told = heard(voice, [*script, COMPLETED])
    between = "\n\n" if voice == "openai_chat" else ""
    assert text_of(voice, told) == between.join("".join(deltas) for deltas in messages)


@pytest.mark.parametrize("voice", OPENAI)
@given(deltas=DELTAS, again=st.integers(1, 7), lost=st.integers(0, 5), twice=st.booleans())
def test_what_is_said_again_the_same_goes_on(
    voice: str, deltas: list[str], again: int, lost: int, twice: bool
) -> None:
    text = "".join(deltas)
    retold = [text[at : at + again] for at in range(0, len(text), again)]
    half = begun("item_1", deltas[:lost])
    if twice:
        half += [("run.resumed", {"withdrawn": ["item_1"]}), *begun("item_1", retold[: lost // 2])]
    told = heard(voice, resumed(half, *said("item_2", *retold)))
    assert text_of(voice, told) == text
    assert not any("error" in one for one in told)


@pytest.mark.parametrize("voice", OPENAI)
@pytest.mark.parametrize("anew", [("Hola",), ("H", "i"), ("Hel",), ()])
def test_what_is_said_otherwise_ends_an_openai_stream(voice: str, anew: tuple[str, ...]) -> None:
    after = said("item_2", *anew) if anew else called("item_2", "call_1")
    told = heard(voice, resumed(begun("item_1", ["Hell"]), *after))
    assert told[-1]["error"]["code"] == "answer_withdrawn"
    assert text_of(voice, told) == "Hell"


@pytest.mark.parametrize("voice", OPENAI)
def test_a_whole_message_that_is_said_again_the_same_is_not_heard_twice(voice: str) -> None:
    again = [*said("item_2", "Hel", "lo"), *called("item_3", "call_1"), *said("item_4", "Bye")]
    told = heard(voice, resumed(said("item_1", "Hello"), *again))
    assert text_of(voice, told) == ("Hello\n\nBye" if voice == "openai_chat" else "HelloBye")
    assert not any("error" in one for one in told)


@pytest.mark.parametrize("voice", OPENAI)
@pytest.mark.parametrize("anew", [("Hello", " again"), ("Hell",)])
def test_a_whole_message_that_is_said_otherwise_ends_an_openai_stream(
    voice: str, anew: tuple[str, ...]
) -> None:
    told = heard(voice, resumed(said("item_1", "Hello"), *said("item_2", *anew)))
    assert told[-1]["error"]["code"] == "answer_withdrawn"
    assert text_of(voice, told) == "Hello"


def test_openai_responses_end_a_call_that_was_withdrawn() -> None:
    told = heard("openai_responses", resumed(called("item_1", "call_1")[:3], *called("item_2", "call_2")))
    output = told[-1]["response"]["output"]
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
    told = heard("ui_messages", resumed(half, *called("item_2", "call_2")))
    assert [one["toolCallId"] for one in told if one["type"] == "tool-output-error"] == ["call_1"]
    assert [one["toolCallId"] for one in told if one["type"] == "tool-output-available"] == ["call_2"]


def test_ag_ui_hears_what_was_withdrawn() -> None:
    told = heard("ag_ui", resumed(begun("item_1", ["Hell"]), *said("item_2", "Hola")))
    messages = [one["messageId"] for one in told if one["type"] == "TEXT_MESSAGE_START"]
    ended = [one["messageId"] for one in told if one["type"] == "TEXT_MESSAGE_END"]
    (custom,) = [one for one in told if one["type"] == "CUSTOM"]
    assert messages == ended
    assert (custom["name"], custom["value"]) == ("run.resumed", {"withdrawn": messages[:1]})


def test_ui_messages_mark_what_was_withdrawn() -> None:
    told = heard("ui_messages", resumed(begun("item_1", ["Hell"]), *said("item_2", "Hola")))
    first, second = (one for one in told if one["type"] == "text-end")
    assert (first["id"], first["providerMetadata"]) == ("item_1", {"acme": {"withdrawn": True}})
    assert (second["id"], second.get("providerMetadata")) == ("item_2", None)
    assert {"type": "data-withdrawn", "data": {"ids": ["item_1"]}} in told


def test_a_whole_answer_holds_nothing_that_was_withdrawn() -> None:
    voice = ChatCompletion(RUN)
    hear(voice, events(resumed(begun("item_1", ["Hell"]), *said("item_2", "Hola"))))
    assert voice.whole()["choices"][0]["message"]["content"] == "Hola"


@voices
def test_a_refusal_and_what_was_cut_off_are_told_apart(voice: str) -> None:
    refused = heard(voice, [STARTED, *said("item_1", "No.", refusal=True), COMPLETED])
    cut = heard(voice, [STARTED, *said("item_1", "And then", incomplete=True), ("run.cancelled", END)])
    reasons = {
        "openai_chat": lambda told: told[-2]["choices"][0]["finish_reason"],
        "openai_responses": lambda told: (
            told[-1]["response"]["status"],
            told[-1]["response"]["output"][0]["content"][0]["type"],
            told[-1]["response"]["output"][0]["status"],
        ),
        "ag_ui": lambda told: told[-1]["outcome"]["type"],
        "ui_messages": lambda told: told[-1]["finishReason"],
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
    assert (reasons[voice](refused), reasons[voice](cut)) == expected[voice]


WAITING: Script = [STARTED, ("approval.required", APPROVAL), ("run.waiting", END)]
CANCELLED: Script = [STARTED, *begun("item_1", ["Hel"]), ("run.cancelled", END)]
BROKEN: Script = [STARTED, *begun("item_1", ["Hel"]), FAILED]


def test_openai_chat_ends_however_a_run_ends() -> None:
    assert heard("openai_chat", WAITING)[1]["acme"] == {"type": "approval.required", "seq": 2, **APPROVAL}
    for script in (WAITING, CANCELLED):
        last = heard("openai_chat", script)[-2]
        assert (last["choices"][0]["finish_reason"], last["acme"]["type"]) == ("stop", script[-1][0])
    assert heard("openai_chat", BROKEN)[-1]["error"]["code"] == "model_unavailable"


def test_openai_responses_end_however_a_run_ends() -> None:
    waiting, cancelled, broken = (heard("openai_responses", one) for one in (WAITING, CANCELLED, BROKEN))
    assert [one["type"] for one in waiting[-1]["response"]["output"]] == ["mcp_approval_request"]
    assert cancelled[-1]["response"]["status"] == "cancelled"
    assert cancelled[-1]["response"]["output"][0]["status"] == "incomplete"
    assert types(broken)[-2:] == ["response.failed", "error"]
    assert broken[-2]["response"]["error"]["code"] == broken[-1]["code"] == "model_unavailable"


def test_ag_ui_ends_however_a_run_ends() -> None:
    waiting, cancelled, broken = (heard("ag_ui", one) for one in (WAITING, CANCELLED, BROKEN))
    asked = {"run_id": str(RUN.id), **APPROVAL}
    del asked["call_id"]
    assert {"type": "CUSTOM", "name": "approval.required", "value": asked} in waiting
    assert waiting[-1]["result"]["status"] == "waiting"
    (interrupt,) = waiting[-1]["outcome"]["interrupts"]
    assert (interrupt["id"], interrupt["toolCallId"]) == ("ap_1", "call_1")
    assert types(cancelled)[-3:] == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    assert cancelled[-1]["outcome"] == {"type": "cancelled"}
    assert (broken[-1]["type"], broken[-1]["code"]) == ("RUN_ERROR", "model_unavailable")


def test_ui_messages_end_however_a_run_ends() -> None:
    waiting, cancelled, broken = (heard("ui_messages", one) for one in (WAITING, CANCELLED, BROKEN))
    asked = {"run_id": str(RUN.id), **APPROVAL}
    del asked["call_id"]
    assert {"type": "tool-approval-request", "approvalId": "ap_1", "toolCallId": "call_1"} in waiting
    assert {"type": "data-approval-required", "id": "ap_1", "data": asked} in waiting
    assert types(cancelled)[-4:] == ["text-end", "abort", "finish-step", "finish"]
    assert types(broken)[-5:] == ["text-end", "data-error", "error", "finish-step", "finish"]


@voices
def test_a_run_that_never_began_ends_like_any_other(voice: str) -> None:
    cancelled = ("run.cancelled", END)
    never, begun = heard(voice, [cancelled]), heard(voice, [STARTED, cancelled])
    assert types(never) == types(begun)


@voices
def test_what_nobody_has_words_for_is_passed_over(voice: str) -> None:
    script = everything()
    assert heard(voice, [*script[:-1], ("weather.changed", {}), script[-1]])[:-1] == heard(voice, script)[:-1]

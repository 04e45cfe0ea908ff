"""The demo of a stack in development, used in a browser: docs/howto/frontend.md explains its code."""

import re
from pathlib import Path
from typing import Any

import pytest
from starter_cli.stack import Stack
from testkit.node_scripts import try_demo

PAGE = Path(__file__).parents[4] / "docs/howto/frontend.md"
SERVICES = ["auth", "chat-agent", "conversation", "billing-webhook", "notification"]


@pytest.fixture(scope="module")
def seen(stack: Stack) -> dict[str, Any]:
    owner = stack.owner
    (example,) = re.findall(r"^```html\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    example = example.replace("http://localhost:8000", stack.gateway_url)
    return try_demo(stack.gateway_url, owner.email, owner.password, SERVICES, example)


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_blocked(seen: dict[str, Any]) -> None:
    assert seen["problems"] == []


def test_says_that_a_password_is_wrong(seen: dict[str, Any]) -> None:
    assert seen["refused"].startswith("Incorrect email or password.")


def test_shows_tools_handoffs_and_the_answer(seen: dict[str, Any]) -> None:
    tool, handoff = seen["chat"]["notes"]
    assert tool.startswith("current_time(")
    assert handoff == "triage handed over to code_assistant"
    assert len(seen["chat"]["user"]) == len(seen["chat"]["assistant"]) == 1


def test_goes_on_after_an_approval_with_what_was_sent_meanwhile(seen: dict[str, Any]) -> None:
    assert len(seen["approved"]) == 2


def test_shows_code_as_code(seen: dict[str, Any]) -> None:
    assert seen["code"] == ["def add(a, b):\n    return a - b\n"]


def test_renames_and_deletes_a_conversation_on_a_small_screen(seen: dict[str, Any]) -> None:
    assert seen["title"] == "A title of one's own"
    assert seen["deleted"]


def test_lists_more_conversations_by_keyboard(seen: dict[str, Any]) -> None:
    first, second = seen["all"][:2]
    status = "2 conversations are listed."
    assert seen["more"] == {"listed": [first, second], "focus": second, "status": status}
    assert seen["opened"] == second
    assert len(seen["all"]) == len(seen["conversations"]) > 2


def test_is_accessible(seen: dict[str, Any]) -> None:
    assert seen["inaccessible"] == []


def test_offers_only_pending_approvals_after_a_reload(seen: dict[str, Any]) -> None:
    assert seen["pending"] == 1
    assert seen["decided"]["approvals"] == 0
    assert seen["decided"]["assistant"]


def test_pauses_before_it_resumes_a_stream_without_an_event(seen: dict[str, Any]) -> None:
    assert seen["outage"] == ["request", "pause"] * 3 + ["request"]


def test_resumes_after_a_reload_and_stops(seen: dict[str, Any]) -> None:
    before, [after] = seen["resumed"]["before"], seen["resumed"]["after"]
    assert len(after) > len(before)
    assert after.startswith(before)
    assert len(seen["resumed"]["user"]) == 1
    assert len(seen["conversations"]) >= 3


def test_tabs_renew_the_session_once(seen: dict[str, Any]) -> None:
    assert seen["tabs"] == [True, True]
    assert seen["refreshes"] == 1


def test_the_page_of_the_guide_shows_an_answer(seen: dict[str, Any]) -> None:
    assert "current_time says" in seen["example"]


def test_lists_the_documents_and_shows_each(seen: dict[str, Any]) -> None:
    assert {f"/docs/{service}" for service in SERVICES} <= set(seen["documents"])
    assert {f"/openapi/{service}.json" for service in SERVICES} <= set(seen["documents"])
    assert all(seen["operations"][service] for service in SERVICES)

"""Parts that die or stop while people use the stack: what is answered meanwhile, and that nothing is lost."""

import time
from collections.abc import Callable

import pytest
from starter_cli.stack import Stack
from starter_cli.stripe_setup import FEATURES

from .conftest import Acme, Inbox, Person, until


def chat(person: Person) -> tuple[int, str | None]:
    answer = person.http.post("/api/v1/chat", json={"message": "Hello"})
    return answer.status_code, answer.json().get("code")


def test_registrations_while_notification_is_killed_get_one_mail_each(
    stack: Stack, register: Callable[..., str], inbox: Inbox
) -> None:
    before = stack.pid("notification")
    registered = [register()]
    stack.kill("notification")
    registered += [register(), register()]
    until(lambda: stack.pid("notification") not in {None, before})
    stack.kill("notification")
    registered.append(register())
    until(lambda: all(inbox.mails(email) for email in registered))
    stack.restart("notification")
    last = register()
    inbox.token(last)
    assert [len(inbox.mails(email)) for email in [*registered, last]] == [1] * 5


def test_a_service_that_dies_is_back_by_itself(stack: Stack, owner: Person) -> None:
    stack.kill("conversation")
    until(lambda: owner.http.get("/api/v1/conversations").status_code == 200)


@pytest.mark.parametrize(
    ("part", "code"),
    [("conversation", "conversation_unavailable"), ("sandbox", "model_unavailable")],
    ids=["conversation", "the model"],
)
def test_without_what_it_needs_chat_says_so_and_goes_on_when_it_is_back(
    stack: Stack, owner: Person, part: str, code: str
) -> None:
    agent = stack.pid("chat-agent")
    with stack.stopped(part):
        assert chat(owner) == (503, code)
    until(lambda: chat(owner)[0] == 200)
    assert stack.pid("chat-agent") == agent


def test_without_auth_everybody_who_is_signed_in_goes_on(stack: Stack, owner: Person) -> None:
    with stack.stopped("auth"):
        # For longer than the gateway keeps keys by itself.
        back_at = time.monotonic() + 12
        while time.monotonic() < back_at:
            assert owner.http.get("/api/v1/conversations").status_code == 200
            time.sleep(0.2)
        assert chat(owner)[0] == 200


@pytest.mark.parametrize("part", ["postgres", "valkey"])
def test_without_storage_nothing_crashes_and_all_goes_on_when_it_is_back(
    stack: Stack, owner: Person, part: str
) -> None:
    services = ["auth", "conversation", "chat-agent", "billing-webhook", "notification"]
    before = [stack.pid(service) for service in services]
    usage = f"/api/v1/billing/tenants/{owner.tenant_id}/usage"
    with stack.stopped(part):
        statuses = {owner.http.get(path).status_code for path in ("/api/v1/conversations", usage)}
        statuses.add(chat(owner)[0])
    assert statuses <= {200, 503}
    assert part != "postgres" or statuses == {503}
    until(lambda: chat(owner)[0] == 200)
    until(lambda: owner.http.get(usage).status_code == 200)
    assert [stack.pid(service) for service in services] == before


def test_the_ledger_catches_up_with_what_happened_while_it_was_away(
    acme: Acme, stack: Stack, neighbour: Person
) -> None:
    granted = acme(
        *("exec", "--data", stack.data_dir.root, "billing-webhook", "--", "python", "-m", "billing_webhook"),
        *("entitlements", "grant", neighbour.tenant_id, *FEATURES, "--reason", "a test"),
    )
    assert granted.returncode == 0, granted.stderr
    # For a minute each process of the chat-agent knows that the tenant has no limits.
    assert [chat(neighbour)[0] for _ in range(8)] == [200] * 8
    with stack.stopped("billing-webhook"):
        for _ in range(3):
            assert chat(neighbour) == (200, None)
    assert until(lambda: neighbour.usage()["runs"] == 11)


def test_who_has_a_limit_waits_while_the_ledger_is_away(stack: Stack, neighbour: Person) -> None:
    with stack.stopped("billing-webhook"):
        assert chat(neighbour) == (503, "billing_unavailable")
    assert until(lambda: chat(neighbour)[0] == 200)

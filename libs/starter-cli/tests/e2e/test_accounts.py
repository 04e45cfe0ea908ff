"""Signing up, and what others may not see."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starter_cli.stack import Stack

from .conftest import PASSWORD, Inbox, Person, until


def test_somebody_new_signs_up_confirms_the_mail_and_signs_in(
    register: Callable[..., str], inbox: Inbox, stranger: Person
) -> None:
    email = register()
    assert stranger.sign_in(email, PASSWORD).status_code in {401, 403}
    stranger.verify(inbox.token(email))
    assert stranger.sign_in(email, PASSWORD).status_code == 200
    assert stranger.http.get("/api/v1/auth/me").json()["email"] == email
    assert stranger.http.get("/api/v1/conversations").json()["items"] == []
    assert len(inbox.mails(email)) == 1


def test_a_link_that_a_scanner_opens_first_still_says_that_the_address_is_confirmed(
    register: Callable[..., str], inbox: Inbox, stranger: Person
) -> None:
    token = inbox.token(register())
    first, second = (stranger.http.post("/api/v1/auth/email/verify", json={"token": token}) for _ in range(2))
    assert first.is_success
    assert (second.status_code, second.content) == (first.status_code, first.content)


def test_nobody_learns_whether_an_address_is_known(register: Callable[..., str], stranger: Person) -> None:
    known = register()
    bodies = [
        {"email": email, "password": PASSWORD, "tenant_name": "Of somebody", "accept_terms": True}
        for email in (known, f"{uuid4().hex}@example.com")
    ]
    answers = [stranger.http.post("/api/v1/auth/register", json=body) for body in bodies]
    assert answers[0].status_code == answers[1].status_code == 202
    assert answers[0].content == answers[1].content


def test_signing_out_ends_the_session_also_when_its_access_token_is_gone(
    stack: Stack, stranger: Person
) -> None:
    bundle = stranger.sign_in(stack.owner.email, stack.owner.password).json()
    del stranger.http.headers["Authorization"]
    refresh = {"refresh_token": bundle["refresh_token"]}
    assert stranger.http.post("/api/v1/auth/logout", json=refresh).is_success
    assert stranger.http.post("/api/v1/auth/refresh", json=refresh).status_code == 401


def test_what_is_another_tenants_does_not_exist(owner: Person, neighbour: Person) -> None:
    ended = owner.stream("Hello")[-1][1].data
    conversation, run = ended["conversation_id"], ended["run_id"]
    requests: list[httpx.Response] = [
        neighbour.http.get(f"/api/v1/conversations/{conversation}"),
        neighbour.http.get(f"/api/v1/conversations/{conversation}/items"),
        neighbour.http.delete(f"/api/v1/conversations/{conversation}"),
        neighbour.http.get(f"/api/v1/runs/{run}"),
        neighbour.http.get(f"/api/v1/runs/{run}/events"),
        neighbour.http.get(f"/api/v1/billing/tenants/{owner.tenant_id}/usage"),
        neighbour.http.post("/api/v1/chat", json={"message": "Hi", "conversation_id": conversation}),
        neighbour.http.post("/api/v1/chat/stream", json={"message": "Hi", "conversation_id": conversation}),
    ]
    assert [(answer.request.url.path, answer.status_code) for answer in requests] == [
        (answer.request.url.path, 404) for answer in requests
    ]
    assert len(owner.messages(conversation)) == 2


def test_headers_cannot_change_the_tenant_or_raise_the_role(owner: Person, neighbour: Person) -> None:
    def result(**headers: str) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = neighbour.http.get("/api/v1/conversations", headers=sent)
        return answer.status_code, answer.json().get("code")

    assert result(X_Tenant_Id=owner.tenant_id) == (403, "tenant_mismatch")
    assert result(X_Tenant_Id=neighbour.tenant_id) == (200, None)
    assert result(X_Tenant_Role="viewer") == (200, None)


@pytest.mark.parametrize("path", ["/api/v1/conversations", "/api/v1/agents", "/api/v1/auth/me"])
def test_a_token_that_is_not_ours_is_refused(stack: Stack, stranger: Person, path: str) -> None:
    token = stranger.sign_in(stack.owner.email, stack.owner.password).json()["access_token"]
    head, claims, signature = token.split(".")
    del stranger.http.headers["Authorization"]
    forged = {
        "none": None,
        "garbage": "Bearer garbage",
        "another scheme": f"Basic {token}",
        "changed signature": f"Bearer {head}.{claims}.{signature[:-8]}AAAAAAAA",
        "changed claims": f"Bearer {head}.{claims[:-4]}AAAA.{signature}",
        "no signature": f"Bearer {head}.{claims}.",
        "refresh token": "Bearer " + "r" * 43,
    }
    for kind, value in forged.items():
        answer = stranger.http.get(path, headers={"Authorization": value} if value else {})
        assert answer.status_code == 401, kind
        assert answer.headers["content-type"] == "application/problem+json", kind
        assert answer.headers["www-authenticate"].startswith("Bearer"), kind


def test_the_first_owner_is_who_the_runner_says(stack: Stack, owner: Person) -> None:
    me = owner.http.get("/api/v1/auth/me").json()
    assert me["email"] == stack.owner.email
    assert me["tenant_id"] == owner.tenant_id


def test_mail_is_sent_again_on_request(register: Callable[..., str], inbox: Inbox, stranger: Person) -> None:
    email = register()
    inbox.token(email)
    assert stranger.http.post("/api/v1/auth/email/send", json={"email": email}).is_success
    assert until(lambda: len(inbox.mails(email)) == 2)

"""Auth as its users see it: through the gateway, with mails, and the other services on the other side."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pyotp
import pytest

from .conftest import PASSWORD, Inbox, Person, until

AUTH = "/api/v1/auth"


@pytest.fixture
def ann(register: Callable[..., str], inbox: Inbox, someone: Callable[[], Person]) -> tuple[Person, str]:
    """Somebody new, signed in, and the address."""
    email, person = register(), someone()
    person.verify(inbox.token(email))
    assert person.sign_in(email, PASSWORD).status_code == 200
    return person, email


def token_of(inbox: Inbox, email: str, subject: str) -> str:
    """Wait for a mail, and take the token out of it."""
    mail = until(lambda: next((one for one in inbox.mails(email) if one["subject"] == subject), None))
    match = re.search(r"token: (\S+)", mail["text"])
    assert match, mail["text"]
    return match[1]


def reads(person: Person) -> int:
    return person.http.get("/api/v1/conversations").status_code


def test_a_forgotten_password_is_set_anew_and_ends_what_was_open(
    ann: tuple[Person, str], inbox: Inbox
) -> None:
    person, email = ann
    assert reads(person) == 200
    assert person.http.post(f"{AUTH}/password/forgot", json={"email": email}).status_code == 202
    expected = {"token": token_of(inbox, email, "Reset your password"), "password": "nine green whales hum"}
    assert person.http.post(f"{AUTH}/password/reset", json=expected).status_code == 204
    until(lambda: reads(person) == 401)
    del person.http.headers["Authorization"]
    assert person.sign_in(email, PASSWORD).status_code == 401
    assert person.sign_in(email, expected["password"]).status_code == 200
    assert until(lambda: [one for one in inbox.mails(email) if "was changed" in one["subject"]])


def test_a_second_factor_is_required(ann: tuple[Person, str]) -> None:
    person, email = ann
    begun = person.http.post(f"{AUTH}/factors/totp").json()
    app = pyotp.parse_uri(begun["otpauth_uri"])
    assert isinstance(app, pyotp.TOTP)
    confirmed = person.http.post(f"{AUTH}/factors/totp/confirm", json={"code": app.now()})
    codes = confirmed.json()["recovery_codes"]
    del person.http.headers["Authorization"]
    request = person.sign_in(email, PASSWORD)
    assert (request.status_code, request.json()["code"]) == (401, "second_factor_required")
    proof = {"challenge": request.json()["challenge"], "recovery_code": codes[0]}
    answer = person.http.post(f"{AUTH}/token/second-factor", json=proof)
    assert answer.status_code == 200, answer.text
    person.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert reads(person) == 200


def test_an_api_key_opens_other_services_within_its_scopes_until_it_is_revoked(
    ann: tuple[Person, str], stranger: Person
) -> None:
    person, _ = ann
    expected: dict[str, Any] = {"name": "a machine", "scopes": ["conversations:read"]}
    made = person.http.post(f"{AUTH}/api-keys", json=expected).json()
    stranger.http.headers["Authorization"] = f"Bearer {made['key']}"
    assert reads(stranger) == 200
    assert stranger.http.post("/api/v1/conversations", json={}).status_code == 403
    assert person.http.delete(f"{AUTH}/api-keys/{made['id']}").status_code == 204
    until(lambda: reads(stranger) == 401)


def test_who_is_invited_sees_the_same_tenant(
    ann: tuple[Person, str], inbox: Inbox, someone: Callable[[], Person]
) -> None:
    person, email = ann
    invited = f"guest-of-{email}"
    expected = {"email": invited, "role": "viewer"}
    assert person.http.post(f"{AUTH}/tenants/current/invites", json=expected).status_code == 201
    guest, token = someone(), token_of(inbox, invited, "You have been invited to a team")
    body = {"email": invited, "password": PASSWORD, "invite": token}
    assert guest.http.post(f"{AUTH}/register", json=body).status_code == 202
    assert guest.sign_in(invited, PASSWORD).status_code == 200
    assert guest.tenant_id == person.tenant_id
    assert reads(guest) == 200
    refused: httpx.Response = guest.http.post("/api/v1/chat", json={"message": "Hello"})
    assert refused.status_code == 403

"""Passwords that were leaked somewhere are refused wherever one is chosen; nobody is asked for it."""

import socket
import time

import pytest
from auth.errors import PasswordBreached
from auth.security import password_policy

# Of the lists: long, and made of no common word.
LEAKED = ["fallininlovewithyou", "themoneycounter", "bharatswami231253", "Schmeissflieger2019"]
NEW = "an entirely new phrase"


@pytest.mark.parametrize("password", [*LEAKED, "FallInInLoveWithYou"])
def test_refuses_what_was_leaked_however_it_is_capitalised(password):
    with pytest.raises(PasswordBreached):
        password_policy.validate(password, [])


@pytest.mark.parametrize("password", ["fall in in love with you", "themoneycounter and themoneycounters"])
def test_looks_at_the_whole_password(password):
    password_policy.validate(password, [])


def test_asks_nobody(monkeypatch):
    def nobody(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", nobody)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(PasswordBreached):
        password_policy.validate(LEAKED[0], [])


def test_takes_no_time_worth_speaking_of():
    begun = time.process_time()
    for n in range(100):
        password_policy.validate(f"nobody ever thought of this {n}", [])
    assert time.process_time() - begun < 1


async def test_says_why_at_a_registration(auth):
    answer = await auth.register(password=LEAKED[0])
    assert (answer.status_code, answer.json()["code"]) == (422, "password_breached")
    assert "data breach" in answer.json()["detail"]
    assert LEAKED[0] not in answer.text
    assert await auth.events() == []


async def test_says_why_at_a_reset_and_leaves_the_link_good(auth):
    await auth.somebody()
    await auth.post("password/forgot", email="ann@example.com")
    [mail] = await auth.mails("password_reset")
    answer = await auth.post("password/reset", token=mail["token"], password=LEAKED[0])
    assert (answer.status_code, answer.json()["code"]) == (422, "password_breached")
    assert (await auth.post("password/reset", token=mail["token"], password=NEW)).status_code == 204


async def test_says_why_at_a_change(auth):
    bundle = await auth.somebody()
    answer = await auth.post(
        "password/change", bundle["access_token"], current_password=auth.password, new_password=LEAKED[0]
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "password_breached")


async def test_who_has_such_a_password_from_before_can_still_sign_in(auth):
    await auth.somebody()
    stored_hash = await auth.app.state.services.passwords.hash(LEAKED[0])
    await auth.database.execute("update users set password_hash = $1", stored_hash)
    assert (await auth.sign_in(password=LEAKED[0])).status_code == 200

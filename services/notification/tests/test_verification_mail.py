import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from notification.main import create_app
from testkit.app import running


async def test_a_sign_up_gets_a_mail_to_confirm_the_address(app, sign_up, mailed):
    person = await sign_up()
    mail = await mailed(person)
    assert mail["to"] == [person.email]
    assert mail["from"] == "Acme <hello@acme.test>"
    assert mail["subject"] == "Confirm your email address"
    for part in (mail["html"], mail["text"]):
        assert "Hello Ada Lovelace" in part
        assert "Analytical Engines" in part
        assert person.token in part


async def test_the_link_carries_the_token(app, sign_up, mailed):
    person = await sign_up()
    [link] = [word for word in (await mailed(person))["text"].split() if word.startswith("https://")]
    parts = urlsplit(link)
    assert (parts.hostname, parts.path) == ("app.acme.test", "/verify-email")
    assert parse_qs(parts.query) == {"token": [person.token]}


async def test_who_asks_again_gets_another_mail(app, sign_up, post_office, until):
    first = await sign_up()
    await sign_up(email=first.email)

    async def both():
        return len(await post_office.mails(first.email)) == 2

    await until(both)


@pytest.mark.parametrize("type", ["auth.user.registered.v1", "auth.email_verification.requested.v1"])
async def test_an_auth_of_the_version_before_is_understood(app, sign_up, mailed, type):
    person = await sign_up(type=type)
    assert person.token in (await mailed(person))["text"]


async def test_an_event_that_comes_twice_is_one_mail(app, sign_up, mailed, post_office):
    person = await sign_up()
    await sign_up(event_id=person.event_id, email=person.email)
    await mailed(person)
    await mailed(await sign_up())
    assert len(await post_office.mails(person.email)) == 1
    assert len(await post_office.attempts()) == 2


async def test_many_replicas_send_each_mail_once(settings, sign_up, mailed, post_office):
    async with running(create_app(settings)), running(create_app(settings)):
        people = await asyncio.gather(*(sign_up() for _ in range(20)))
        await asyncio.gather(*(sign_up(event_id=one.event_id, email=one.email) for one in people))
        await mailed(await sign_up())
        for person in people:
            await mailed(person)
    assert len(await post_office.attempts()) == 21


async def test_names_are_text_and_not_html(app, sign_up, mailed):
    mail = await mailed(await sign_up(display_name="O'Ada", tenant_name='"Tom & Jerry"'))
    assert "Hello O&#39;Ada," in mail["html"]
    assert "“&#34;Tom &amp; Jerry&#34;”" in mail["html"]
    assert "Hello O'Ada," in mail["text"]
    assert '“"Tom & Jerry"”' in mail["text"]


async def test_a_name_that_is_an_advertisement_is_left_out(app, sign_up, mailed):
    names = (
        "<b>Ada",
        "Win at https://casino.test",
        "casino.test",
        "ask@casino.test",
        "casino" * 20,
        " \n ",
        None,
    )
    for person in [await sign_up(display_name=name, tenant_name=name) for name in names]:
        mail = await mailed(person)
        for part in (mail["html"], mail["text"]):
            assert "Hello," in part
            assert "Please confirm your email address." in part
            assert "casino" not in part


async def test_a_name_stays_on_its_line(app, sign_up, mailed):
    mail = await mailed(await sign_up(display_name="Ada\r\n\r\nYour account is closed"))
    assert "Hello Ada Your account is closed," in mail["text"]

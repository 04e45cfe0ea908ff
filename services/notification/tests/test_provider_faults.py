"""The mail server fails in every way that it can; people still get one mail, or none when it is too late."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from notification.deliveries import retry_delay
from notification.main import create_app
from notification.resend_mailer import open_mailer
from pydantic import SecretStr
from sandbox.mail import create_mail
from sandbox.processes import free_port
from servicekit.settings import RotatingSecret
from testkit.app import running
from testkit.live_server import serving


async def test_what_may_pass_is_tried_again(app, sign_up, mailed, post_office):
    faults = (500, 502, 401, 403, 404, 409, 429)
    for status in faults:
        await post_office.fail(status, retry_after=0)
    for person in [await sign_up() for _ in faults]:
        await mailed(person)
    attempts = await post_office.attempts()
    assert sorted(one["status"] for one in attempts) == sorted([*faults, *[200] * len(faults)])
    assert len({one["idempotency_key"] for one in attempts}) == len(faults)


async def test_what_is_refused_is_not_tried_again(app, sign_up, row_of, mailed, post_office):
    for status in (400, 413, 422):
        await post_office.fail(status, name="invalid_from_address")
    for person in [await sign_up() for _ in range(3)]:
        row = await row_of(person, status="failed")
        assert (row["last_error"], row["attempts"], row["sealed_token"]) == ("invalid_from_address", 1, None)
    await mailed(await sign_up())
    assert len(await post_office.attempts()) == 4


async def test_waits_for_as_long_as_the_provider_asks(app, sign_up, mailed, post_office):
    await post_office.fail(429, retry_after=2)
    await mailed(await sign_up())
    first, second = (datetime.fromisoformat(one["at"]) for one in await post_office.attempts())
    assert (second - first).total_seconds() >= 2


async def test_a_spent_quota_is_not_retried_soon(app, sign_up, row_of, post_office):
    await post_office.fail(429, name="daily_quota_exceeded")
    row = await row_of(await sign_up(), last_error="daily_quota_exceeded")
    assert (row["due_at"] - row["created_at"]).total_seconds() > 3000


def test_pauses_grow_up_to_a_minute():
    assert 0.5 <= retry_delay(1) <= 1
    assert 4 <= retry_delay(4) <= 8
    assert 30 <= retry_delay(1000) <= 60


async def test_an_answer_that_is_lost_does_not_make_two_mails(app, sign_up, row_of, post_office):
    await post_office.fail(503, accepted=True, retry_after=0)
    person = await sign_up()
    row = await row_of(person, status="sent")
    [mail] = await post_office.mails(person.email)
    assert (row["provider_id"], mail["attempts"]) == (mail["id"], 2)


async def test_a_mail_that_reads_differently_by_now_is_not_sent_again(
    settings, sign_up, rows, row_of, post_office
):
    await post_office.fail(503, accepted=True, retry_after=3600)
    person = await sign_up()
    async with running(create_app(settings)):
        await row_of(person, last_error="application_error")
    await rows.execute("update deliveries set due_at = now()")
    moved = settings.model_copy(update={"app_public_url": "https://new.acme.test"})
    async with running(create_app(moved)):
        await row_of(person, status="sent")
    assert len(await post_office.mails(person.email)) == 1


async def test_a_mail_server_that_is_away_for_a_while_makes_no_difference(settings, sign_up, row_of):
    port, mail_server = free_port(), create_mail()
    away = settings.model_copy(update={"resend_base_url": f"http://127.0.0.1:{port}"})
    people = [await sign_up() for _ in range(3)]
    async with running(create_app(away)):
        for person in people:
            await row_of(person, last_error="ConnectError")
        with serving(mail_server, port):
            for person in people:
                await row_of(person, status="sent")
    for person in people:
        assert len(mail_server.state.mailbox.inbox(person.email)) == 1


async def test_an_answer_that_makes_no_sense_is_no_success(settings, sign_up, row_of):
    answers = [
        Response("<h1>Bad Gateway</h1>", 502, media_type="text/html"),
        Response("[]", 200, media_type="application/json"),
        Response("{}", 200, media_type="application/json"),
        Response('{"id": null}', 200, media_type="application/json"),
        Response(None, 307, {"Location": "http://127.0.0.1:1/elsewhere"}),
        Response('{"name": "A <a@b.test>"}', 500, {"Retry-After": "soon"}, media_type="application/json"),
    ]
    people = [(await sign_up(), answer) for answer in answers]
    answer_to = {person.email: answer for person, answer in people}
    strange = FastAPI()

    @strange.post("/emails")
    def send_email(mail: Annotated[dict[str, Any], Body()]):
        return answer_to[mail["to"][0]]

    with serving(strange) as url:
        async with running(create_app(settings.model_copy(update={"resend_base_url": url}))):
            for person, answer in people:
                await row_of(person, status="queued", last_error=f"http_{answer.status_code}")


async def test_a_template_at_the_provider_replaces_ours(settings, sign_up, row_of):
    taken = []

    async def take(request: Request):
        taken.append((await request.json(), request.headers))
        return {"id": "mail_1"}

    provider = FastAPI()
    provider.post("/emails")(take)
    person = await sign_up(tenant_name=None)
    with serving(provider) as url:
        there = {"resend_base_url": url, "resend_email_verification_template_id": "tmpl_1"}
        async with running(create_app(settings.model_copy(update=there))):
            row = await row_of(person, status="sent")
    [(mail, headers)] = taken
    assert headers["authorization"] == "Bearer re_for_these_tests"
    assert headers["idempotency-key"] == f"acme-delivery-{row['id']}"
    assert not {"html", "text"} & set(mail)
    template = mail["template"]
    assert template["id"] == "tmpl_1"
    assert set(template["variables"]) == {"LINK", "TOKEN", "NAME", "TENANT_NAME", "EXPIRES_AT"}
    assert (template["variables"]["TOKEN"], template["variables"]["TENANT_NAME"]) == (person.token, "")


async def test_mailers_in_one_process_keep_their_accounts_and_their_connections(settings):
    received = {"first": [], "second": []}

    def provider(name):
        app = FastAPI()

        @app.post("/emails")
        def receive(request: Request):
            received[name].append((request.headers["authorization"], request.client.port))
            return {"id": name}

        return app

    with serving(provider("first")) as first_url, serving(provider("second")) as second_url:
        accounts = [
            settings.model_copy(update={"resend_base_url": url, "resend_api_key": SecretStr(key)})
            for url, key in ((first_url, "re_first"), (second_url, "re_second"))
        ]
        async with open_mailer(accounts[0]) as first, open_mailer(accounts[1]) as second:
            for number in range(3):
                key = f"mail-{number}"
                assert await asyncio.gather(
                    *(mailer.send({"to": "a@b.test"}, idempotency_key=key) for mailer in (first, second))
                ) == ["first", "second"]
    for name, requests in received.items():
        [(authorization, _)] = set(requests)
        assert (authorization, len(requests)) == (f"Bearer re_{name}", 3)


async def test_what_would_come_too_late_is_dropped_by_name(app, sign_up, row_of, mailed, post_office):
    row = await row_of(await sign_up(expires_in=-1), status="expired")
    assert (row["last_error"], row["sealed_token"], row["sent_at"]) == ("delivery_expired", None, None)
    await mailed(await sign_up())
    assert len(await post_office.attempts()) == 1


async def test_nothing_is_tried_for_longer_than_the_provider_can_tell_a_repetition(app, sign_up, row_of):
    row = await row_of(await sign_up(expires_in=7 * 86400), status="sent")
    assert (row["expires_at"] - row["created_at"]).total_seconds() < 86400


async def test_a_mail_on_its_way_is_seen_through_when_the_service_stops(
    settings, sign_up, row_of, post_office, until
):
    await post_office.fail(503, accepted=True, delay=0.5, retry_after=3600)
    person = await sign_up()
    async with running(create_app(settings)):
        await until(lambda: post_office.mails(person.email))
    row = await row_of(person)
    assert (row["status"], row["last_error"]) == ("queued", "application_error")


async def test_mails_that_the_key_before_has_sealed_go_out_while_it_is_known(settings, sign_up, mailed):
    new, old = "A" * 43, settings.event_sealing_key.get_secret_value()
    # At the first step of a change, auth still writes with the old one.
    for both in (f"{old},{new}", f"{new},{old}"):
        known = settings.model_copy(update={"event_sealing_key": RotatingSecret(both)})
        async with running(create_app(known)):
            await mailed(await sign_up())


async def test_a_wrong_sealing_key_is_mended_without_a_loss(settings, sign_up, rows, row_of, mailed):
    wrong = settings.model_copy(update={"event_sealing_key": RotatingSecret("A" * 43)})
    person = await sign_up()
    async with running(create_app(wrong)):
        await row_of(person, last_error="decryption_failed")
    await rows.execute("update deliveries set due_at = now()")
    async with running(create_app(settings)):
        await mailed(person)

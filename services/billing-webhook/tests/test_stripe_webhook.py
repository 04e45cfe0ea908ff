import asyncio
import json
import time

import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from sqlalchemy import text
from stripe import WebhookSignature
from testkit.app import client, running

SECRET = "whsec_for_these_tests"
JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.fixture(scope="module")
async def app(settings):
    """Nothing but answering; the workers have no part in this."""
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        yield app


def snapshot(**changes):
    event = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "livemode": False,
        "type": "customer.subscription.updated",
        "data": {"object": {"id": "sub_1", "object": "subscription"}},
    }
    return json.dumps({**event, **changes}, indent=2)


def thin(**changes):
    event = {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "created": "2026-11-20T10:00:00.000Z",
        "livemode": False,
        "type": "v1.billing.meter.no_meter_found",
        "snapshot_event": "evt_1",
        "related_object": None,
    }
    return json.dumps({**event, **changes})


def signature(body, secret=SECRET, at=0.0):
    return WebhookSignature.generate_signature_header(body, secret, int(time.time() + at))


@pytest.fixture
def post(stripe):
    async def send(body, signed=None, headers=JSON):
        signed = {"Stripe-Signature": signature(body) if signed is None else signed}
        return await stripe.post("/webhooks/stripe", content=body, headers={**headers, **signed})

    return send


@pytest.fixture
def stored_events(app):
    async def rows():
        async with app.state.resources.database.begin() as db:
            return (await db.execute(text("select * from stripe_events order by id"))).all()

    return rows


def problem(answer):
    return answer.status_code, answer.json()["code"]


async def test_a_signed_event_is_stored_byte_for_byte_and_answered(post, stored_events):
    body = snapshot()
    answer = await post(body)
    assert (answer.status_code, answer.json()) == (202, {"received": True, "duplicate": False})
    [row] = await stored_events()
    assert bytes(row.payload) == body.encode()
    assert (row.id, row.type, row.api_version, row.livemode, row.status) == (
        "evt_1",
        "customer.subscription.updated",
        "2026-10-28.endive",
        False,
        "received",
    )
    assert row.created.timestamp() == 1_790_000_000


async def test_a_thin_notification_is_stored_too(post, stored_events):
    assert (await post(thin())).status_code == 202
    [row] = await stored_events()
    assert (row.id, row.api_version, row.created.isoformat()) == (
        "evt_thin_1",
        None,
        "2026-11-20T10:00:00+00:00",
    )


async def test_unknown_types_are_stored_too(post, stored_events):
    assert (await post(snapshot(type="from.the_future.v9"))).status_code == 202
    assert len(await stored_events()) == 1


async def test_an_event_that_comes_twice_is_stored_once(post, stored_events):
    assert (await post(snapshot())).json()["duplicate"] is False
    assert (await post(snapshot())).json() == {"received": True, "duplicate": True}
    assert len(await stored_events()) == 1


async def test_an_event_that_comes_ten_times_at_once_is_stored_once(post, stored_events):
    answers = await asyncio.gather(*(post(snapshot()) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * 9
    assert len(await stored_events()) == 1


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "nonsense",
        "t=,v1=",
        "t=1,v1=00",
        f"t={'9' * 5000},v1=00",
        signature(snapshot(), secret="whsec_of_somebody_else"),
        signature(snapshot()).replace("v1=", "v0="),
        signature(snapshot(id="evt_2")),
        f"t={int(time.time())},v1=\u00e9".encode("latin-1"),
    ],
    # Signatures tell the time; a test's name must not.
    ids=range(9),
)
async def test_what_is_not_signed_is_refused_and_not_stored(post, stored_events, signed):
    assert problem(await post(snapshot(), signed)) == (400, "invalid_signature")
    assert await stored_events() == []


async def test_one_space_more_and_the_signature_is_wrong(post, stored_events):
    body = snapshot()
    assert problem(await post(body + " ", signature(body))) == (400, "invalid_signature")
    assert await stored_events() == []


@pytest.mark.parametrize("seconds", [-330, 330, 86400 * 365])
async def test_a_signature_of_another_hour_is_refused(post, seconds):
    assert problem(await post(snapshot(), signature(snapshot(), at=seconds))) == (400, "invalid_signature")


@pytest.mark.parametrize("seconds", [-270, 270])
async def test_clocks_may_differ_by_some_minutes(post, seconds):
    assert (await post(snapshot(), signature(snapshot(), at=seconds))).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"event"',
        "{}",
        snapshot(object="charge"),
        snapshot(id="evt_\u0000"),
        snapshot(id=""),
        snapshot(id="../../x"),
        snapshot(type="a b"),
        snapshot(type=None),
        snapshot(livemode="perhaps"),
        snapshot(created="soon"),
        snapshot(created=1e300),
        snapshot(created="2026-11-20T10:00:00"),
        snapshot(created="9999-12-31T23:59:59-14:00"),
        snapshot(created=-1e18),
        snapshot(api_version={}),
    ],
)
async def test_what_is_signed_and_no_event_is_refused(post, stored_events, body):
    assert problem(await post(body)) == (400, "invalid_payload")
    assert await stored_events() == []


async def test_a_body_that_is_nested_without_end_is_refused(post, stored_events):
    assert problem(await post("[" * 100_000)) == (400, "body_too_complex")
    assert await stored_events() == []


async def test_bytes_that_are_no_text_are_refused(post):
    assert problem(await post(b"\xff\xfe{}", signature("{}"))) == (400, "invalid_payload")


async def test_only_json_is_read(post):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = await post(snapshot(), headers={"Content-Type": kind})
        assert problem(answer) == (415, "unsupported_media_type")
    assert problem(await post(snapshot(), headers={})) == (415, "unsupported_media_type")


async def test_a_large_body_is_refused_before_it_is_read(post, stored_events):
    taken = 0

    async def endless():
        nonlocal taken
        for _ in range(100):
            taken += 64 * 1024
            yield b" " * 64 * 1024

    assert problem(await post(endless(), "t=1,v1=0")) == (413, "payload_too_large")
    assert taken <= 512 * 1024
    limit = 256 * 1024
    fitting = snapshot(note="x" * (limit - len(snapshot(note=""))))
    assert (len(fitting), (await post(fitting)).status_code) == (limit, 202)
    assert problem(await post(fitting + " ")) == (413, "payload_too_large")
    assert len(await stored_events()) == 1


async def test_only_post_is_answered(stripe):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert problem(await stripe.request(method, "/webhooks/stripe")) == (405, "method_not_allowed")


async def test_an_address_that_calls_too_often_gets_retry_after(settings):
    few = settings.model_copy(update={"stripe_webhooks_per_minute": 2})
    async with running(create_app(few)) as app, client(app) as stripe:
        headers = {**JSON, "Stripe-Signature": signature(snapshot())}
        answers = [
            await stripe.post("/webhooks/stripe", content=snapshot(), headers=headers) for _ in range(3)
        ]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[2].headers["Retry-After"]


async def test_the_tolerance_of_clocks_is_a_setting(settings):
    short = settings.model_copy(update={"stripe_webhook_tolerance_seconds": 30})
    async with running(create_app(short)) as app, client(app) as stripe:
        for seconds, status in ((-20, 202), (-60, 400), (60, 400)):
            headers = {**JSON, "Stripe-Signature": signature(snapshot(), at=seconds)}
            answer = await stripe.post("/webhooks/stripe", content=snapshot(), headers=headers)
            assert answer.status_code == status, seconds


async def test_while_a_secret_is_replaced_both_are_taken(settings):
    both = settings.model_copy(update={"stripe_webhook_secret": SecretStr("new, old ,")})
    async with running(create_app(both)) as app, client(app) as stripe:
        for secret, status in (("new", 202), ("old", 202), ("older", 400), ("", 400), (" ", 400)):
            body = snapshot(id=f"evt_{secret.strip()}")
            headers = {**JSON, "Stripe-Signature": signature(body, secret)}
            answer = await stripe.post("/webhooks/stripe", content=body, headers=headers)
            assert answer.status_code == status, secret


@pytest.mark.parametrize("secret", [None, "", " , "])
async def test_without_a_secret_nothing_is_taken(settings, secret):
    without = settings.model_copy(update={"stripe_webhook_secret": secret and SecretStr(secret)})
    async with running(create_app(without)) as app, client(app) as stripe:
        headers = {**JSON, "Stripe-Signature": signature(snapshot(), "")}
        answer = await stripe.post("/webhooks/stripe", content=snapshot(), headers=headers)
        assert problem(answer) == (503, "webhooks_not_configured")
        assert answer.headers["Retry-After"]

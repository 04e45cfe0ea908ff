"""Every mail that auth asks for is written, whatever is known of the matter."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from notification import email_templates, rendering
from notification.handlers import HANDLERS
from notification.main import create_app
from notification.models import Delivery
from notification.team_templates import TEAM_TEMPLATES
from servicekit.encryption import encrypt
from servicekit.events.outbox import ReceivedEvent
from testkit.app import client, running

TEMPLATES = {**email_templates.TEMPLATES, **TEAM_TEMPLATES}
PUBLISHED = Path(__file__).parents[2] / "auth" / "contract" / "events" / "auth.email.requested.v1.json"
KINDS = json.loads(PUBLISHED.read_text())["$defs"]["EmailKind"]["enum"]
PAGES = {
    "email_verification": "/verify-email",
    "password_reset": "/reset-password",
    "email_change": "/confirm-email-change",
    "magic_link": "/magic-link",
    "second_factors_reset": "/reset-password",
    "invitation": "/invitation",
    "access_approved": "/invitation",
    "account_closing": "/restore-account",
}
KEY = "acme_ak_" + "0b6f1c9e" * 4
EVERYTHING = {
    "tenant_name": "Analytical Engines",
    "role": "admin",
    "inviter": "Charles",
    "new_owner": "Grace",
    "name": "Mary",
    "company": "Looms",
    "left": "7",
    "reason": "We know you",
    "factor": "totp",
    "key_name": "nightly build",
    "actor": "Grace",
    "member": "Byron",
    "keys": f"{KEY} conversations:read,tools:read nightly build",
    "account": "nightly-export",
    "new_email_masked": "a***@example.org",
    "device": "Firefox on Linux",
    "place": "London",
    "place_before": "Sydney",
    "attack": "password_spraying",
    "address": "203.0.113.x",
    "at": "2026-11-26T10:05:00+01:00",
}


def due(settings, kind, /, **changes):
    """What auth tells when a mail is due, and the token that is sealed in it."""
    recipient, token = f"user:{uuid4()}", f"{uuid4().hex}.s3cr+t"
    data = {
        "kind": kind,
        "recipient": recipient,
        "tenant_id": None,
        "email": f"{uuid4().hex}@example.com",
        "display_name": "Ada Lovelace",
        "facts": EVERYTHING,
        "token": encrypt(settings.event_sealing_key, token, context=recipient) if kind in PAGES else None,
        "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        **changes,
    }
    return data, token


@pytest.fixture
def publish_event(redis):
    """Publish to this service a mail that is due, as auth does."""

    async def publish(data, event_id=None, type="auth.email.requested.v1"):
        entry = {
            "specversion": "1.0",
            "id": str(event_id or uuid4()),
            "source": "acme/auth",
            "type": type,
            "subject": data["recipient"],
            "time": "2026-11-26T12:00:00Z",
            "datacontenttype": "application/json",
            "data": json.dumps(data),
        }
        await redis.xadd("events:auth", entry)

    return publish


@pytest.fixture
def arrival(app, settings, publish_event, post_office):
    """Have a mail sent, and give it with its token."""

    async def arrived(kind, **changes):
        data, token = due(settings, kind, **changes)
        await publish_event(data)
        return await post_office.arrival(data["email"]), token

    return arrived


def test_there_is_a_letter_of_every_kind_and_none_that_nobody_sends():
    assert set(TEMPLATES) == set(KINDS)


async def test_writes_every_letter_with_all_that_is_known(arrival):
    for kind in KINDS:
        mail, token = await arrival(kind)
        assert mail["subject"] == TEMPLATES[kind].subject
        for part in (mail["html"], mail["text"]):
            assert "Hello Ada Lovelace" in part
            assert TEMPLATES[kind].footer in part
            assert "{" not in part
            assert (token in part) == (kind in PAGES)


async def test_writes_every_letter_when_nothing_is_known(arrival):
    for kind in KINDS:
        mail, _ = await arrival(kind, facts={}, display_name=None)
        for part in (mail["html"], mail["text"]):
            assert "Hello," in part
            assert TEMPLATES[kind].footer in part
            assert "None" not in part
            assert "“”" not in part
        assert ("Time: 26 November 2026, 12:00 UTC" in mail["text"]) == (kind not in PAGES)


async def test_only_what_one_has_to_follow_has_a_link_and_it_leads_to_our_page(arrival):
    for kind in KINDS:
        mail, token = await arrival(kind)
        links = [urlsplit(word) for word in mail["text"].split() if "://" in word]
        targets = [(link.netloc, link.path, parse_qs(link.query)) for link in links]
        expected = [("app.acme.test", PAGES[kind], {"token": [token]})] if kind in PAGES else []
        assert targets == expected, kind
        assert mail["html"].count("href=") == len(links)


async def test_a_notice_tells_when_where_and_with_what(arrival):
    mail, _ = await arrival("new_device")
    expected = [
        "Time: 26 November 2026, 09:05 UTC",
        "Device: Firefox on Linux",
        "Location: London",
        "IP address: 203.0.113.x",
    ]
    assert "\n".join([*expected, "", "If this was not you"]) in mail["text"]
    assert "<br>".join(expected) in mail["html"]


TELLS = {
    "invitation": "Charles has invited you to join “Analytical Engines” as admin.",
    "email_changed": "was changed to a***@e***.org.",
    "second_factor_added": "A second factor (an authenticator app) was added",
    "recovery_code_used": "your account. You have 7 left. Generate new ones",
    "ownership_transferred": "The ownership of “Analytical Engines” was transferred to Grace.",
    "access_requested": "Mary of “Looms” requests access.",
    "access_approved": "Your access request for “Looms” was approved.",
    "access_rejected": "access request for “Looms” was rejected: “We know you”.",
    "api_key_created": "The API key “nightly build” in “Analytical Engines” was created.",
    "api_key_rotated": "key “nightly build” in “Analytical Engines” was replaced by Grace.",
    "api_key_revoked": "The API key “nightly build” in “Analytical Engines” was revoked by Grace.",
    "api_keys_stopped": f"“nightly build”, {KEY}…, conversations:read, tools:read",
    "api_keys_kept": "Byron may no longer hold API keys in “Analytical Engines”.",
    "service_credential_revoked": "the service account “nightly-export” in “Analytical Engines” was revoked",
    "tenant_suspended": "“Analytical Engines” was suspended",
    "tenant_reactivated": "“Analytical Engines” is active again",
    "tenant_deleted": "“Analytical Engines” was deleted",
    "impossible_travel": "the previous sign-in (Sydney) to have",
    "attack_seen": "failed sign-ins to many accounts from one network (password spraying).",
    "second_factors_reset": "An administrator of “Analytical Engines” removed",
    "mfa_required": "“Analytical Engines” now requires a second factor to sign in.",
    "role_changed": "in “Analytical Engines” was changed: you are now admin.",
}


async def test_a_letter_tells_what_is_known(arrival):
    for kind, expected in TELLS.items():
        mail, _ = await arrival(kind)
        assert expected in mail["text"]
        assert expected in mail["html"]


async def test_the_inviter_may_have_another_field(arrival):
    mail, _ = await arrival("invitation", facts={"invited_by": "Charles"})
    assert "Charles has invited you to join a team." in mail["text"]


# The letters in which a fact is told.
TOLD_IN = {
    "tenant_name": ["invitation", "api_key_created", "role_changed", "member_removed", "mfa_required"],
    "role": ["invitation", "role_changed"],
    "inviter": ["invitation"],
    "new_owner": ["ownership_transferred"],
    "name": ["access_requested"],
    "company": ["access_requested", "access_approved", "access_rejected"],
    "reason": ["access_rejected"],
    "factor": ["second_factor_added", "second_factor_removed"],
    "left": ["recovery_code_used"],
    "key_name": ["api_key_created", "api_key_rotated", "api_key_revoked"],
    "actor": ["api_key_rotated", "api_key_revoked"],
    "member": ["api_keys_stopped", "api_keys_kept"],
    "keys": ["api_keys_stopped", "api_keys_kept"],
    "account": ["service_credential_revoked"],
    "device": ["new_device"],
    "place": ["new_device"],
    "place_before": ["impossible_travel"],
    "attack": ["attack_seen"],
    "address": ["session_stolen"],
}


async def test_no_fact_carries_an_advertisement(arrival):
    for fact, kinds in TOLD_IN.items():
        for kind in kinds:
            mail, _ = await arrival(kind, facts={**EVERYTHING, fact: "win at casino.test"})
            assert "casino" not in mail["html"] + mail["text"], (fact, kind)


async def test_of_a_listed_key_only_its_own_fields_are_in_the_mail(arrival):
    lines = [
        f"{KEY} tools:read win at casino.test",
        f"{KEY} casino.test x",
        "casino.test",
        f"{KEY} tools:read A",
    ]
    mail, _ = await arrival("api_keys_stopped", facts={"keys": "\n".join(lines)})
    assert mail["text"].count("- ") == mail["html"].count("<li>") == 2
    assert f"- {KEY}…, tools:read\n- “A”, {KEY}…, tools:read\n" in mail["text"]
    assert "casino" not in mail["html"] + mail["text"]


async def test_an_address_that_is_not_masked_is_left_out(arrival):
    for value in ("ada@casino.test", "see http://casino.test", "a***@casino.test now", ""):
        mail, _ = await arrival("email_changed", facts={"new_email_masked": value, "at": "casino"})
        assert "email address of your account was changed. We" in mail["text"]
        assert "casino" not in mail["html"] + mail["text"]


async def test_facts_are_text_and_not_html(arrival):
    mail, _ = await arrival("invitation", facts={"inviter": "Ann's", "tenant_name": "Tom & Jerry"})
    assert "Ann&#39;s has invited you to join “Tom &amp; Jerry”" in mail["html"]
    assert "Ann's has invited you to join “Tom & Jerry”" in mail["text"]
    mail, _ = await arrival("invitation", facts={"inviter": "<b>Charles", "tenant_name": "{{ token }}"})
    for part in (mail["html"], mail["text"]):
        assert "You have been invited to join a team" in part


async def test_a_mail_that_is_requested_twice_is_sent_once(app, settings, publish_event, post_office):
    data, _ = due(settings, "password_changed")
    event_id = uuid4()
    await publish_event(data, event_id)
    await publish_event(data, event_id)
    last, _ = due(settings, "password_changed")
    await publish_event(last)
    await post_office.arrival(last["email"])
    assert len(await post_office.mails(data["email"])) == 1


async def test_an_invitation_reaches_who_has_no_account(arrival, settings):
    recipient = "mail:ada@example.com"
    sealed = encrypt(settings.event_sealing_key, "the-token", context=recipient)
    mail, _ = await arrival("invitation", recipient=recipient, token=sealed, tenant_id=str(uuid4()))
    assert "token=the-token" in mail["text"]


async def test_nothing_of_a_deleted_user_is_stored_once_the_farewell_is_sent(
    app, settings, publish_event, rows, post_office, until
):
    user = f"user:{uuid4()}"
    stays, _ = due(settings, "password_changed")
    goes, _ = due(settings, "password_changed", recipient=user)
    farewell, _ = due(settings, "account_deleted", recipient=user)
    for data in (stays, goes, farewell):
        await publish_event(data)
    for data in (stays, goes, farewell):
        await post_office.arrival(data["email"])
    await publish_event({"user_id": user, "tenant_ids": [], "recipient": user}, type="auth.user.deleted.v1")

    async def left():
        deliveries = await rows.fetch(
            "select template, address, payload, status from deliveries order by address"
        )
        return deliveries if len(deliveries) == 2 and not deliveries[0]["address"] else None

    bare, stored = await until(left)
    assert tuple(bare) == ("account_deleted", "", "{}", "sent")
    assert stored["address"] == stays["email"]


async def test_a_late_event_is_not_mailed_to_a_deleted_user(
    app, settings, publish_event, rows, post_office, until
):
    user = f"user:{uuid4()}"
    farewell, _ = due(settings, "account_deleted", recipient=user)
    late, _ = due(settings, "password_changed", recipient=user)
    for _ in range(2):
        await publish_event(
            {"user_id": user, "tenant_ids": [], "recipient": user}, type="auth.user.deleted.v1"
        )
    for data in (late, farewell):
        await publish_event(data)
    last, _ = due(settings, "password_changed")
    await publish_event(last)
    for data in (farewell, last):
        await post_office.arrival(data["email"])
    assert await post_office.mails(late["email"]) == []
    templates = await rows.fetch("select template from deliveries where user_id = $1", user)
    assert [row["template"] for row in templates] == ["account_deleted"]


async def test_a_kind_that_only_a_newer_sender_knows_is_left_for_it(
    settings, publish_event, rows, post_office, until, monkeypatch
):
    data, _ = due(settings, "telegram")
    await publish_event(data)
    async with running(create_app(settings)):

        async def failed_row():
            failed = "select * from deliveries where last_error = 'template_not_found' and status = 'queued'"
            return await rows.fetchrow(failed)

        assert (await until(failed_row))["template"] == "telegram"
    monkeypatch.setitem(rendering.TEMPLATES, "telegram", TEMPLATES["new_device"])
    await rows.execute("update deliveries set due_at = now()")
    async with running(create_app(settings)):
        await post_office.arrival(data["email"])


def test_a_kind_of_which_resend_keeps_a_template_goes_there(settings):
    changed = settings.model_copy(update={"resend_password_reset_template_id": "tpl_reset"})
    data, token = due(settings, "password_reset")
    delivery = Delivery(
        template="password_reset",
        user_id=data["recipient"],
        address=data["email"],
        payload={"name": None, "expires_at": "soon", "role": "admin"},
        sealed_token=data["token"],
    )
    mail = rendering.render_email(delivery, changed)
    link = f"https://app.acme.test/reset-password?token={token.replace('+', '%2B')}"
    expected = {"LINK": link, "TOKEN": token, "NAME": "", "TENANT_NAME": "", "EXPIRES_AT": "soon"}
    assert mail["template"] == {"id": "tpl_reset", "variables": expected}
    assert not {"html", "text"} & set(mail)


async def test_people_see_the_mails_of_no_tenant_in_every_tenant(app, arrival, issuer):
    user = f"user:{uuid4()}"
    await arrival("password_changed", recipient=user)
    await arrival("role_changed", recipient=user, tenant_id=str(uuid4()))
    await arrival("password_changed")
    token = issuer.token(tenant_id=uuid4(), subject=user, role="viewer")
    async with client(app, token) as http:
        [seen] = (await http.get("/api/v1/notifications")).json()["items"]
    assert seen["type"] == "password_changed"


@pytest.mark.parametrize(
    "broken",
    [
        {"email": "ada@example.com\r\nBcc: all@example.com"},
        {"facts": None},
        {"facts": {"role": 7}},
        {"kind": "Password Reset"},
        {"expires_at": "2026-11-23T10:00:00"},
    ],
)
async def test_refuses_what_cannot_be_mailed_without_showing_it(settings, broken):
    data, _ = due(settings, "password_reset", **broken)
    received = ReceivedEvent(
        id=uuid4(),
        type="auth.email.requested.v1",
        source="acme/auth",
        subject=data["recipient"],
        time=datetime.now(UTC),
        data=data,
    )
    with pytest.raises(ValueError, match="EmailRequested") as refusal:
        await HANDLERS["auth.email.requested.v1"](None, received)
    assert "example.com" not in str(refusal.value)


def test_a_letter_that_makes_up_a_word_is_an_error():
    letter = TEMPLATES["new_device"]
    made_up = type(letter)("", "{{ made_up }}", "")
    with pytest.raises(Exception, match="made_up"):
        rendering.render_body(rendering.TEXT, "email.txt", made_up, {})


async def test_an_auth_of_the_version_before_is_understood(app, settings, publish_event, post_office):
    data, token = due(settings, "password_reset")
    await publish_event(data, type="auth.mail.due.v1")
    assert token in (await post_office.arrival(data["email"]))["text"]

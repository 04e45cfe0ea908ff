"""What a mail says is for its reader alone."""

import json

import pytest
from notification.handlers import HANDLERS
from notification.main import create_app
from servicekit.events.dead_letters import list_dead_letters
from testkit.app import running
from testkit.impatient_consumer import impatient_consumer


@pytest.fixture
def lines(capfd):
    """Return what has been logged since, and hold it against what must not be."""

    def read(*people):
        text = capfd.readouterr().out
        for person in people:
            for secret in (person.token, person.token.partition(".")[2], person.sealed, person.email):
                assert secret not in text
        assert "re_for_these_tests" not in text
        return [json.loads(line) for line in text.split("\n") if line.startswith("{")]

    return read


async def test_logs_tell_of_every_mail_and_show_neither_address_nor_token(
    settings, sign_up, mailed, row_of, post_office, lines
):
    for status in (422, 500):
        await post_office.fail(status)
    people = [await sign_up() for _ in range(3)]
    async with running(create_app(settings.model_copy(update={"logging_sink": "stdout"}))):
        for person in people:
            await row_of(person, sealed_token=None)
    attempts = [line for line in lines(*people) if line["event"] == "email attempt"]
    assert sorted(line["status"] for line in attempts) == ["failed", "queued", "sent", "sent"]
    assert {line["template"] for line in attempts} == {"email_verification"}


async def test_the_database_holds_the_token_sealed_and_only_until_it_is_sent(
    settings, sign_up, rows, row_of, post_office
):
    await post_office.fail(503, retry_after=3600)
    person = await sign_up()
    async with running(create_app(settings)):
        waiting = await row_of(person, last_error="application_error")
        assert waiting["sealed_token"] == person.sealed
        assert person.token not in str(waiting)
    await rows.execute("update deliveries set due_at = now()")
    async with running(create_app(settings)):
        sent = await row_of(person, status="sent")
    assert sent["sealed_token"] is None
    assert person.sealed not in str(sent)


async def test_in_development_mail_may_be_off(settings, sign_up, row_of, post_office, lines):
    off = settings.model_copy(update={"resend_email_enabled": False, "logging_sink": "stdout"})
    person = await sign_up()
    async with running(create_app(off)):
        row = await row_of(person, status="skipped")
    assert row["sealed_token"] is None
    assert await post_office.attempts() == []
    [line] = [line for line in lines(person) if line["event"] == "email attempt"]
    assert (line["status"], line["error"], line["delivery_id"]) == (
        "skipped",
        "email_disabled",
        str(row["id"]),
    )


async def test_in_production_disabled_mail_is_logged_once_and_stored(
    settings, sign_up, row_of, mailed, lines
):
    changes = {"environment": "production", "resend_email_enabled": False, "logging_sink": "stdout"}
    person = await sign_up()
    async with running(create_app(settings.model_copy(update=changes))):
        await row_of(person, status="queued", attempts=0)
    warnings = [line for line in lines(person) if line["event"].startswith("email is off")]
    assert [line["level"] for line in warnings] == ["warning"]
    async with running(create_app(settings)):
        await mailed(person)


@pytest.fixture
async def laid_aside(settings, redis, until):
    """Wait for dead letters; the service's own reactions run under a consumer that gives up soon."""
    async with impatient_consumer("notification", settings, ("auth",), HANDLERS):

        async def all_of(number):
            letters = await list_dead_letters(redis, "notification")
            return letters if len(letters) == number else None

        yield lambda number: until(lambda: all_of(number))


async def test_what_cannot_be_mailed_is_laid_aside_without_showing_it(laid_aside, sign_up):
    broken = [
        {"email": "ada@example.com\r\nBcc: all@example.com"},
        {"email": "Ada <ada@example.com>"},
        {"email": "ada-has-no-domain"},
        {"email": None},
        {"facts": None},
        {"expires_at": "2026-11-23T10:00:00"},
        {"tenant_id": "acme"},
        {"display_name": 7},
    ]
    people = {str((await sign_up(**change)).event_id): change for change in broken}
    letters = await laid_aside(len(broken))
    assert {letter.fields[b"id"].decode() for letter in letters} == set(people)
    for letter in letters:
        assert letter.reason.startswith("ValidationError")
        for hidden in ("example.com", "ada-has", "s1."):
            assert hidden not in letter.reason

"""Who runs the service learns that letters leave, and not to whom, nor what is in them."""

from notification.main import create_app
from testkit.app import client, running


async def test_shows_no_address_no_name_and_no_link(
    settings, issuer, sign_up, row_of, post_office, captured_telemetry
):
    await post_office.fail(422)
    changed = settings.model_copy(update={**captured_telemetry.settings})
    people = [await sign_up() for _ in range(2)]
    refused = await sign_up(email="Ada <ada@canary.example>")
    async with running(create_app(changed)) as app:
        for person in people:
            await row_of(person, sealed_token=None)
        token = issuer.token(tenant_id=people[0].tenant_id, subject=people[0].user_id)
        async with client(app, token) as ada:
            answer = await ada.get("/api/v1/notifications", params={"access_token": token})
            assert answer.status_code == 200, answer.text
    assert captured_telemetry.instrumented_libraries >= {"fastapi", "sqlalchemy", "redis"}
    assert "email attempt" in captured_telemetry.logs
    secrets = [
        secret
        for person in [*people, refused]
        for secret in (person.token, person.token.partition(".")[2], person.sealed, person.email)
    ]
    ours = ("re_for_these_tests", settings.event_sealing_key.get_secret_value())
    assert captured_telemetry.leaks(token, *secrets, *ours, "Lovelace", "Analytical", "canary.example") == []


async def test_shows_nobody_who_gets_an_email_about_billing(
    settings, publish, directory, rows, until, captured_telemetry
):
    changed = settings.model_copy(update={**captured_telemetry.settings})
    tenant_id = directory.add_tenant(billing_email="bills@canary.example")
    page = "https://invoice.stripe.test/i/a-page-to-pay-on"
    invoice = {"number": "ACME-0001", "currency": "eur", "amount_due": 1900, "hosted_invoice_url": page}
    async with running(create_app(changed)):
        await publish(tenant_id, "invoice.payment_action_required", invoice)

        async def sent():
            return await rows.fetchval("select count(*) from deliveries where status = 'sent'") == 2

        await until(sent)
    assert "billing email" in captured_telemetry.logs
    addresses = directory.addresses(tenant_id)
    assert captured_telemetry.leaks(*addresses, "canary.example", "a-page-to-pay-on", "Analytical") == []

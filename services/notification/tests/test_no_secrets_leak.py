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

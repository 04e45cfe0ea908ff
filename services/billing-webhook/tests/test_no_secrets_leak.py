"""Who runs the service learns that Stripe has told something, and not what, nor with which secret."""

import json
import time

from billing_webhook.main import create_app
from stripe import WebhookSignature
from testkit.app import client, running

SECRETS = {
    "stripe_webhook_secret": "whsec_canary_of_stripes",
    "stripe_secret_key": "sk_test_canary_of_stripes",
}
CUSTOMER = {"object": {"id": "cus_canary", "email": "ann@canary.example", "name": "Ann Canary"}}


def event(**changes):
    usual = {"id": "evt_1", "object": "event", "created": 1_790_000_000, "livemode": False}
    return json.dumps({**usual, "type": "customer.updated", "data": CUSTOMER, **changes})


async def test_shows_no_customer_no_signature_and_no_token(settings, issuer, tenant, captured_telemetry):
    changed = type(settings).model_validate(
        {**settings.model_dump(), **SECRETS, **captured_telemetry.settings}
    )
    token = issuer.token(tenant_id=tenant)
    signatures = []
    async with running(create_app(changed)) as app, client(app, token) as http:
        for body, secret, status in (
            (event(), SECRETS["stripe_webhook_secret"], 202),
            (event(), "whsec_of_somebody_else", 400),
            (event(type=CUSTOMER), SECRETS["stripe_webhook_secret"], 400),
            (event()[:-1], SECRETS["stripe_webhook_secret"], 400),
        ):
            signed = WebhookSignature.generate_signature_header(body, secret, int(time.time()))
            headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
            answer = await http.post("/webhooks/stripe", content=body, headers=headers)
            assert answer.status_code == status, answer.text
            signatures.append(signed.rpartition("=")[2])
        usage = f"/api/v1/billing/tenants/{tenant}/usage"
        assert (await http.get(usage, params={"access_token": token})).status_code == 200
    assert captured_telemetry.instrumented_libraries >= {"fastapi", "sqlalchemy", "redis"}
    personal = ("canary.example", "Canary", "cus_canary")
    assert (
        captured_telemetry.leaks(token, *signatures, *SECRETS.values(), "whsec_of_somebody_else", *personal)
        == []
    )

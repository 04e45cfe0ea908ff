"""Where emails about a tenant's billing go, for the service that sends them."""

from billing_webhook.models import Customer
from testkit.app import client


async def test_the_service_that_sends_email_learns_the_billing_address(app, issuer, tenant, database):
    async def contact(scope="billing:contact"):
        token = issuer.service_token("notification", audience="billing-webhook", scope=scope)
        async with client(app.state.internal, token) as http:
            return await http.get(f"/internal/v1/tenants/{tenant}/billing-contact")

    assert (await contact()).json() == {"billing_email": None}
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id="cus_1", tenant_id=tenant, billing_email="bills@example.com"))
    assert (await contact()).json() == {"billing_email": "bills@example.com"}
    assert (await contact("billing:reserve")).status_code == 403

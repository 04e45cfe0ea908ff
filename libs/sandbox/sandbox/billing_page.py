"""The page that `upgrade_url` leads to where there is no frontend: it opens checkout or portal of Stripe."""

from collections.abc import Mapping

from sandbox.acme_calls import call

FREE = "free"


def open_billing(gateway_url: str, page_url: str, typed: Mapping[str, str]) -> str:
    """Sign in, and return the address of Stripe's checkout, or of its portal for whoever has a paid plan.

    Raises RequestRefused.
    """
    person = {name: typed.get(name, "") for name in ("email", "password")}
    session = call(f"{gateway_url}/api/v1/auth/token", person)
    headers = {"Authorization": f"Bearer {session.get('access_token')}"}
    billing_url = f"{gateway_url}/api/v1/billing/tenants/{session.get('tenant_id')}"
    if call(f"{billing_url}/subscription", None, headers).get("plan_code") != FREE:
        portal = call(f"{billing_url}/portal-sessions", {"return_url": page_url}, headers)
        return str(portal["url"])
    request = {"plan_code": typed.get("plan", ""), "success_url": page_url, "cancel_url": page_url}
    return str(call(f"{billing_url}/checkout-sessions", request, headers)["url"])

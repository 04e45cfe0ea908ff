"""Where notification learns addresses: auth and billing-webhook, as their contracts say that they answer."""

from collections import defaultdict
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from testkit.issuer import Issuer


class Directory:
    """Tenants with their owners and billing addresses; while it is down, every answer is 503."""

    def __init__(self, issuer: Issuer) -> None:
        self.tenants: dict[str, dict[str, Any]] = {}
        self.billing_emails: defaultdict[str, str | None] = defaultdict(lambda: None)
        self.down = False
        self.requests = 0
        self._issuer = issuer
        self.app = FastAPI()
        self.app.post("/internal/v1/oauth/token")(self.token)
        self.app.get("/internal/v1/tenants/{tenant_id}/owners")(self.owners)
        self.app.get("/internal/v1/tenants/{tenant_id}/billing-contact")(self.billing_contact)

    def add_tenant(self, owners: int = 1, billing_email: str | None = None, **changes: Any) -> str:
        """Add a tenant, and return its id."""
        tenant_id = str(uuid4())
        people = [
            {"user_id": f"user:{uuid4()}", "email": f"{uuid4().hex}@example.com", "display_name": "Ada"}
            for _ in range(owners)
        ]
        self.tenants[tenant_id] = {"tenant_name": "Analytical Engines", "owners": people, **changes}
        self.billing_emails[tenant_id] = billing_email
        return tenant_id

    def addresses(self, tenant_id: str) -> list[str]:
        """Return the addresses of a tenant's owners."""
        return [owner["email"] for owner in self.tenants[tenant_id]["owners"]]

    async def token(self, request: Request) -> dict[str, Any]:
        form = {name: value for name, (value,) in parse_qs((await request.body()).decode()).items()}
        token = self._issuer.service_token(form["client_id"], audience=form["audience"], scope=form["scope"])
        return {"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": form["scope"]}

    async def owners(self, tenant_id: str) -> Any:
        self.requests += 1
        if self.down:
            return JSONResponse({"code": "unavailable"}, 503)
        if tenant_id not in self.tenants:
            return JSONResponse({"code": "tenant_not_found"}, 404)
        return self.tenants[tenant_id]

    async def billing_contact(self, tenant_id: str) -> dict[str, str | None]:
        return {"billing_email": self.billing_emails[tenant_id]}

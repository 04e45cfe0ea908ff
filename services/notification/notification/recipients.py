"""Who gets the emails about a tenant's billing: its owners, whom auth knows, and its billing address."""

from dataclasses import dataclass, field
from http import HTTPStatus
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from servicekit.app import Resources
from servicekit.http.client import DependencyUnavailable, HttpPool, HttpResponse
from servicekit.http.service_tokens import ServiceTokens

from notification.events import EmailAddress, Name
from notification.settings import Settings


class Recipient(BaseModel):
    """One recipient: an owner, or the billing address, which has no account."""

    model_config = ConfigDict(hide_input_in_errors=True)

    user_id: str
    email: EmailAddress
    display_name: Name = None


class TenantOwners(BaseModel):
    """auth's answer."""

    model_config = ConfigDict(hide_input_in_errors=True)

    tenant_name: Name
    owners: list[Recipient]


class BillingContact(BaseModel):
    """billing-webhook's answer."""

    model_config = ConfigDict(hide_input_in_errors=True)

    billing_email: EmailAddress | None


@dataclass(frozen=True)
class Recipients:
    """The recipients of a tenant, each address once, and the tenant's name."""

    tenant_name: str | None = None
    people: list[Recipient] = field(default_factory=list)


@dataclass(frozen=True)
class RecipientClient:
    """Reads addresses from auth and billing-webhook: they are current, and stored nowhere else."""

    http: HttpPool
    tokens: ServiceTokens
    auth_url: str
    billing_url: str

    @classmethod
    def from_resources(cls, resources: Resources, settings: Settings) -> "RecipientClient":
        """Build from the connections of this process."""
        return cls(
            resources.http, resources.tokens, settings.auth_internal_url, settings.billing_internal_url
        )

    async def find(self, tenant_id: UUID) -> Recipients:
        """Return the recipients of a tenant, none of a deleted one; raises DependencyUnavailable."""
        tenant = await self.find_owners(tenant_id)
        if tenant is None:
            return Recipients()
        billing_email = await self.find_billing_email(tenant_id)
        return Recipients(tenant.tenant_name, unique_recipients(tenant.owners, billing_email))

    async def find_owners(self, tenant_id: UUID) -> TenantOwners | None:
        """Return the owners of a tenant; raises DependencyUnavailable."""
        url = f"{self.auth_url}/internal/v1/tenants/{tenant_id}/owners"
        answer = await self._get("auth", "owners:read", url)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return TenantOwners.model_validate_json(body_of(answer))

    async def find_billing_email(self, tenant_id: UUID) -> str | None:
        """Return a tenant's address for billing; raises DependencyUnavailable."""
        url = f"{self.billing_url}/internal/v1/tenants/{tenant_id}/billing-contact"
        answer = await self._get("billing-webhook", "billing:contact", url)
        return BillingContact.model_validate_json(body_of(answer)).billing_email

    async def _get(self, audience: str, scope: str, url: str) -> HttpResponse:
        return await self.tokens.send(self.http, audience, scope, "GET", url)


def body_of(answer: HttpResponse) -> bytes:
    """Return the body of a successful answer; raises DependencyUnavailable."""
    if answer.status != HTTPStatus.OK:
        raise DependencyUnavailable
    return answer.body


def unique_recipients(owners: list[Recipient], billing_email: str | None) -> list[Recipient]:
    """Return the owners, and the billing address unless it is an owner's."""
    addresses = {owner.email.casefold() for owner in owners}
    if billing_email is None or billing_email.casefold() in addresses:
        return owners
    return [*owners, Recipient(user_id=f"mail:{billing_email.casefold()}", email=billing_email)]

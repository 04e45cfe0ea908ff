"""Who may sign up, and how long invites, deleted accounts and audit entries are kept."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from auth.configuration.types import DAY_MINUTES, Count, Country
from auth.email_address import Domain


class AccountSettings(BaseModel):
    """Accounts and tenants, from the sign-up to their erasure."""

    # Who may sign up: everybody; whoever has an invite; or whoever the operators approve.
    auth_signup_policy: Literal["public", "invite_only", "approval"] = "public"
    # The owners and admins of this tenant decide on requests to sign up.
    auth_operator_tenant_id: UUID | None = None
    # Only addresses of exactly the allowed domains get an account, if any are named; denied ones include
    # their subdomains.
    signup_allowed_email_domains: list[Domain] = Field(default_factory=list)
    signup_denied_email_domains: list[Domain] = Field(default_factory=list)
    # The same for countries, by AUTH_GEOIP_DATABASE. An unknown country is not an allowed one.
    signup_allowed_countries: list[Country] = Field(default_factory=list)
    signup_denied_countries: list[Country] = Field(default_factory=list)
    require_email_verification: bool = True
    email_verification_token_ttl_minutes: Annotated[int, Field(ge=1, le=DAY_MINUTES)] = 60
    auth_invite_ttl_hours: Annotated[int, Field(ge=1, le=14 * 24)] = 72
    # How long a deleted tenant is kept before it is erased.
    auth_tenant_purge_days: Annotated[int, Field(ge=0, le=365)] = 30
    # How long a closed account can be restored before it is erased; 0: not at all.
    auth_account_deletion_grace_days: Annotated[int, Field(ge=0, le=90)] = 14
    auth_audit_retention_days: Count = 365

    def country_rules(self) -> list[str]:
        """Return the variables that name countries."""
        named = {
            "SIGNUP_ALLOWED_COUNTRIES": self.signup_allowed_countries,
            "SIGNUP_DENIED_COUNTRIES": self.signup_denied_countries,
        }
        return [name for name, countries in named.items() if countries]

    def without_operators(self) -> list[str]:
        """List a missing operators' tenant."""
        undecided = self.auth_signup_policy == "approval" and self.auth_operator_tenant_id is None
        return (
            ["AUTH_OPERATOR_TENANT_ID is missing: AUTH_SIGNUP_POLICY=approval needs it"] if undecided else []
        )

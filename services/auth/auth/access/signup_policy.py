"""Who may have an account: by the domain of the email address, and by the country of the request.

Looked at before anything is known of the address: a refusal is the same, and comes as soon, whether it has an
account or not. The rules hold for every new account, an invited one too, or any admin of any tenant could
invite past them; and an account may not take an address by which it would not have been made. Who has an
account accepts invites into other tenants from anywhere: what those think of its address is theirs to say.
"""

from auth import client_info
from auth.access.errors import CountryNotAllowed, EmailDomainNotAllowed
from auth.email_address import domain_of
from auth.services import AuthServices


def require_allowed(services: AuthServices, email: str) -> None:
    """Require an allowed country and email domain; raises CountryNotAllowed or EmailDomainNotAllowed."""
    require_allowed_country(services)
    require_allowed_domain(services, email)


def require_allowed_country(services: AuthServices) -> None:
    """Require a request from an allowed country; raises CountryNotAllowed."""
    from_where = client_info.current_client()
    country = services.places.country(from_where.address) if from_where else None
    allowed, denied = services.settings.signup_allowed_countries, services.settings.signup_denied_countries
    if (allowed and country not in allowed) or country in denied:
        raise CountryNotAllowed


def require_allowed_domain(services: AuthServices, email: str) -> None:
    """Require an allowed email domain; raises EmailDomainNotAllowed."""
    domain = domain_of(email)
    allowed, denied = (
        services.settings.signup_allowed_email_domains,
        services.settings.signup_denied_email_domains,
    )
    # Whoever has a domain has all below it, and could use up one after the other.
    if (allowed and domain not in allowed) or any(f".{domain}".endswith(f".{one}") for one in denied):
        raise EmailDomainNotAllowed

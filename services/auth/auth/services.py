"""What auth is made of, built once from the settings and within reach of every route."""

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request
from servicekit.app import Resources
from servicekit.database import Database

from auth.security.attack_detection import Attacks
from auth.security.geoip import Places
from auth.security.lockout import Lockout
from auth.security.one_time_tokens import EmailTokens
from auth.security.passwords import Passwords
from auth.security.rate_limits import Rates
from auth.security.refresh_tokens import RefreshTokens
from auth.security.service_account_catalogue import Catalogue
from auth.settings import Settings
from auth.signing.access_tokens import AccessTokens
from auth.signing.signing_keys import SigningKeys
from auth.signing.vault import Vault


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts; at `app.state.parts`."""

    settings: Settings
    database: Database
    keys: SigningKeys
    passwords: Passwords
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    email_tokens: EmailTokens
    rates: Rates
    vault: Vault
    catalogue: Catalogue
    lockout: Lockout
    attacks: Attacks
    places: Places

    @classmethod
    def of(cls, settings: Settings, resources: Resources, keys: SigningKeys) -> Self:
        """Build all parts."""
        return cls(
            settings=settings,
            database=resources.database,
            keys=keys,
            passwords=Passwords(settings.auth_password_pepper, settings.auth_previous_password_pepper),
            access_tokens=AccessTokens.of(settings, keys, Vault.for_signing(settings, resources.http)),
            refresh_tokens=RefreshTokens.of(settings),
            email_tokens=EmailTokens.of(settings),
            rates=Rates.of(settings, resources.limits),
            vault=Vault.of(settings, resources.http),
            catalogue=Catalogue.load(settings.auth_service_accounts_file),
            lockout=Lockout(settings, resources.limits, resources.redis),
            attacks=Attacks(settings, resources.limits, resources.redis),
            places=Places(settings.auth_geoip_database),
        )


def parts(request: Request) -> Parts:
    """Give the parts of the app that answers the request."""
    found: Parts = request.app.state.parts
    return found


PartsOfAuth = Annotated[Parts, Depends(parts)]

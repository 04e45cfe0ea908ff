"""The parts of auth, built once from the settings."""

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request
from servicekit.app import Resources
from servicekit.database import Database

from auth.security.attack_detection import AttackDetector
from auth.security.geoip import GeoIp
from auth.security.lockout import Lockout
from auth.security.one_time_tokens import EmailTokens
from auth.security.passwords import Passwords
from auth.security.rate_limits import RateLimits
from auth.security.refresh_tokens import RefreshTokens
from auth.security.service_account_catalogue import Catalogue
from auth.settings import Settings
from auth.signing.access_tokens import AccessTokens
from auth.signing.signing_keys import SigningKeys
from auth.signing.vault import Vault


@dataclass(frozen=True, kw_only=True)
class AuthServices:
    """The parts; at `app.state.services`."""

    settings: Settings
    database: Database
    keys: SigningKeys
    passwords: Passwords
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    email_tokens: EmailTokens
    rates: RateLimits
    vault: Vault
    catalogue: Catalogue
    lockout: Lockout
    attacks: AttackDetector
    places: GeoIp

    @classmethod
    def from_settings(cls, settings: Settings, resources: Resources, keys: SigningKeys) -> Self:
        """Build all parts."""
        return cls(
            settings=settings,
            database=resources.database,
            keys=keys,
            passwords=Passwords(
                settings.auth_password_pepper.values, memory_kib=settings.auth_password_memory_kib
            ),
            access_tokens=AccessTokens.from_settings(
                settings, keys, Vault.for_signing(settings, resources.http)
            ),
            refresh_tokens=RefreshTokens.from_settings(settings),
            email_tokens=EmailTokens.from_settings(settings),
            rates=RateLimits.from_settings(settings, resources.limits),
            vault=Vault.from_settings(settings, resources.http),
            catalogue=Catalogue.load(settings.auth_service_accounts_file),
            lockout=Lockout(settings, resources.limits, resources.redis),
            attacks=AttackDetector(settings, resources.limits, resources.redis),
            places=GeoIp(settings.auth_geoip_database),
        )


def get_services(request: Request) -> AuthServices:
    """Return the services of the app."""
    services: AuthServices = request.app.state.services
    return services


Services = Annotated[AuthServices, Depends(get_services)]

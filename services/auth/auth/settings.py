"""The settings of auth. Each group of variables is in a module of `auth.configuration`."""

from servicekit.settings import ServiceSettings

from auth.configuration.accounts import AccountSettings
from auth.configuration.limits import LimitSettings
from auth.configuration.secrets import STRONG_SECRETS, SecretSettings
from auth.configuration.sign_in import SignInSettings
from auth.configuration.signing import SigningSettings

# Variables of before, and what replaces each.
REPLACED_VARIABLES = {
    "AUTH_PREVIOUS_*": "the same variable without PREVIOUS_, as new,old",
    "PREVIOUS_EVENT_SEALING_KEY": "EVENT_SEALING_KEY=new,old",
    "*_RATE_LIMIT_PER_*": "AUTH_RATE_LIMITS",
}


class Settings(
    SecretSettings, SigningSettings, SignInSettings, AccountSettings, LimitSettings, ServiceSettings
):
    """The variables of this service, beside those that every service has."""

    replaced_variables = REPLACED_VARIABLES
    required_in_production = frozenset({"auth_service_secrets"})
    strong_secrets = ServiceSettings.strong_secrets | STRONG_SECRETS

    def unfit_anywhere(self) -> list[str]:
        """Add what cannot work in any environment."""
        return [
            *super().unfit_anywhere(),
            *self.broken_sealing_keys(),
            *self.too_short_overlap(),
            *self.unknown_rate_limits(),
            *self.check_geoip(),
            *self.without_a_signer(),
        ]

    def unfit_for_production(self) -> list[str]:
        """Add what is not secure enough for production."""
        return [
            *super().unfit_for_production(),
            *self.shared_peppers(),
            *self.weak_password_hashing(),
            *self.check_vault(),
            *self.without_operators(),
        ]

    def check_geoip(self) -> list[str]:
        """List country rules that lack a GeoIP database."""
        needed = [] if self.auth_geoip_database else self.country_rules()
        return [f"AUTH_GEOIP_DATABASE is missing: {name} needs it" for name in needed]

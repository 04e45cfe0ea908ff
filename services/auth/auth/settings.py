"""The settings of auth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, StringConstraints
from servicekit.auth.call_limits import CallLimits
from servicekit.encryption import InvalidEncryptionKey, encrypt
from servicekit.settings import RotatingSecret, ServiceSettings

from auth.email_address import Domain

MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR
DAY_MINUTES = 24 * 60
# How far apart clocks may be, and how long an answer may lie in a cache on its way.
CLOCK_SKEW_SECONDS = 60
# The least that OWASP's password storage cheat sheet and ASVS 5.0 (appendix C) allow: 25 ms of one core.
MIN_PASSWORD_MEMORY_KIB = 19_456

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=1)]
Minutes = Annotated[int, Field(ge=1)]
Keys = tuple[SecretStr, ...]
RANDOM = Field(description="a random secret (openssl rand -base64 32)")
RandomSecret = Annotated[SecretStr, RANDOM]
# `new,old` while it changes: docs/operations.md, "Changing secrets".
Pepper = Annotated[RotatingSecret, RANDOM]
EncryptionKey = Annotated[
    RotatingSecret, Field(description="32 random bytes in base64 (openssl rand -base64 32)")
]
PEPPERS = (
    "auth_password_pepper",
    "auth_refresh_token_pepper",
    "auth_email_verification_token_pepper",
    "auth_password_reset_token_pepper",
)
# ISO 3166-1 alpha-2.
Country = Annotated[str, StringConstraints(to_upper=True, pattern="^[A-Za-z]{2}$")]


# How often, and in how many seconds. `ip:` limits the address that requests come from; `subject:` the
# account, mailbox, session or client that they are about, from wherever they come.
RATE_LIMITS: Mapping[str, tuple[int, int]] = {
    "ip:register": (20, HOUR),
    "ip:token": (60, MINUTE),
    "ip:refresh": (60, MINUTE),
    "ip:email/send": (10, HOUR),
    "ip:service-accounts/issue": (10, MINUTE),
    "ip:oauth/token": (120, MINUTE),
    "ip:api-key": (30, MINUTE),
    "ip:email/verify": (30, MINUTE),
    "ip:password/forgot": (20, HOUR),
    "ip:password/reset": (30, MINUTE),
    "ip:account/restore": (30, MINUTE),
    "ip:second-factor": (30, MINUTE),
    "ip:passkeys": (30, MINUTE),
    "ip:step-up": (30, MINUTE),
    "ip:magic-link": (20, HOUR),
    "ip:magic-link/verify": (30, MINUTE),
    "ip:invites/accept": (30, MINUTE),
    "ip:signup-requests": (5, HOUR),
    "subject:token": (30, MINUTE),
    "subject:refresh": (30, MINUTE),
    "subject:oauth/token": (60, MINUTE),
    "subject:mail": (3, HOUR),
    "subject:password/forgot": (5, HOUR),
    "subject:factors": (30, MINUTE),
    # Each time ten hashes.
    "subject:recovery-codes": (10, HOUR),
    # Each time a letter with which to set a new password.
    "subject:factors/reset": (5, HOUR),
    "subject:magic-link": (5, HOUR),
    "subject:tenants": (10, HOUR),
    "subject:invites": (100, HOUR),
    "subject:invites/mail": (3, HOUR),
    "subject:signup-requests": (3, DAY),
}


@dataclass(frozen=True)
class Overlap:
    """How long a key is published before it signs, and how long after another has taken its place.

    The lead must outlast every cache of the key set; the lag every token that the key has signed.
    """

    publish_lead: timedelta
    retire_lag: timedelta


# Variables of before, and what replaces each.
REPLACED_VARIABLES = {
    "AUTH_PREVIOUS_*": "the same variable without PREVIOUS_, as new,old",
    "PREVIOUS_EVENT_SEALING_KEY": "EVENT_SEALING_KEY=new,old",
    "*_RATE_LIMIT_PER_*": "AUTH_RATE_LIMITS",
}


class Settings(ServiceSettings):
    """The variables of this service, beside those that every service has."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    auth_limits: CallLimits = CallLimits()

    replaced_variables = REPLACED_VARIABLES
    required_in_production = frozenset({"auth_service_secrets"})
    strong_secrets = ServiceSettings.strong_secrets.union(
        {
            *PEPPERS,
            "auth_jwks_etag_salt",
            "auth_session_ip_hash_salt",
            "auth_service_secrets",
        }
    )

    auth_password_pepper: Pepper
    auth_refresh_token_pepper: Pepper
    auth_email_verification_token_pepper: Pepper
    auth_password_reset_token_pepper: Pepper
    auth_jwks_etag_salt: RandomSecret
    # 32 bytes, URL-safe base64: what is kept of a session's device, and the seeds of second factors.
    auth_session_encryption_key: EncryptionKey
    auth_session_ip_hash_salt: Pepper
    event_sealing_key: EncryptionKey
    # What each service proves itself with, by its client id: {"chat-agent": "..."}.
    auth_service_secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="a JSON object with the SERVICE_CLIENT_SECRET of each service, by its name",
    )

    # A file on storage that all replicas share; without one, the signing keys are in the database.
    auth_key_storage_path: Path | None = None
    auth_jwks_max_age_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    auth_key_publish_lead_minutes: Minutes = DAY_MINUTES
    auth_key_retire_lag_minutes: Minutes = DAY_MINUTES

    access_token_expire_minutes: Annotated[int, Field(ge=1, le=15)] = 10
    # How long a refresh token may lie unused, and how long a session may go on (at most 30 days: NIST 2.1.3).
    auth_refresh_token_ttl_minutes: Minutes = 7 * DAY_MINUTES
    auth_session_ttl_minutes: Annotated[int, Field(ge=1, le=30 * DAY_MINUTES)] = 30 * DAY_MINUTES
    # The same of sessions of more than one factor. No shorter by default: docs/security.md says why.
    auth_mfa_session_idle_minutes: Annotated[int, Field(ge=15, le=30 * DAY_MINUTES)] = 7 * DAY_MINUTES
    auth_mfa_session_ttl_minutes: Annotated[int, Field(ge=15, le=30 * DAY_MINUTES)] = 30 * DAY_MINUTES
    auth_refresh_grace_seconds: Annotated[int, Field(ge=0, le=10)] = 10
    # So many live sessions a person has at most: another one ends the oldest.
    auth_sessions_per_person: Annotated[int, Field(ge=1, le=100)] = 20
    # A database of MaxMind's format, for the town and country of a session; without one, none are told.
    auth_geoip_database: Path | None = None
    auth_audit_retention_days: Count = 365
    require_email_verification: bool = True
    # Who may sign up: all; who has an invite; who has an invite, for which one can ask the operators.
    auth_signup_policy: Literal["public", "invite_only", "approval"] = "public"
    # Whose addresses get an account: of these domains alone (each stands for itself), if there are any; and
    # none of those (each stands for all below it, too).
    signup_allowed_email_domains: list[Domain] = Field(default_factory=list)
    signup_denied_email_domains: list[Domain] = Field(default_factory=list)
    # From where: likewise, by AUTH_GEOIP_DATABASE. Where only some may, an unknown place is none of them.
    signup_allowed_countries: list[Country] = Field(default_factory=list)
    signup_denied_countries: list[Country] = Field(default_factory=list)
    # The owners and admins of this tenant decide on requests to sign up.
    auth_operator_tenant_id: UUID | None = None
    auth_invite_ttl_hours: Annotated[int, Field(ge=1, le=14 * 24)] = 72
    # How long a deleted tenant is kept before it is removed for good.
    auth_tenant_purge_days: Annotated[int, Field(ge=0, le=365)] = 30
    # How long an account that its owner has closed can be taken up again before it is erased; 0: not at all.
    auth_account_deletion_grace_days: Annotated[int, Field(ge=0, le=90)] = 14
    email_verification_token_ttl_minutes: Annotated[int, Field(ge=1, le=DAY_MINUTES)] = 60
    password_reset_token_ttl_minutes: Annotated[int, Field(ge=1, le=60)] = 30
    # What Argon2id works in for one password, in KiB: more of it makes guessing dearer, and each sign-in.
    auth_password_memory_kib: Annotated[int, Field(ge=8, le=4 * 1024 * 1024)] = MIN_PASSWORD_MEMORY_KIB
    # How many passwords, the present one among them, a new one must differ from.
    auth_password_history_count: Annotated[int, Field(ge=0, le=24)] = 5

    # Where people meet us: passkeys are bound to this host, unless another is named.
    app_public_url: str | None = None
    auth_webauthn_rp_id: str | None = None
    auth_webauthn_origins: list[str] = Field(default_factory=list)
    # How long a proof of who one is lasts for what is sensitive (RFC 9470).
    auth_step_up_minutes: Annotated[int, Field(ge=1, le=60)] = 15
    # How long a refused sign-in takes, and every answer that must not tell whether an address has an account:
    # more than the work takes on a busy machine (`python -m scripts.bench.refusals` measures it).
    auth_answer_floor_ms: Annotated[int, Field(ge=0, le=60_000)] = 400
    # After so many wrong answers in a row, to any factor, an account's factors rest.
    auth_second_factor_max_failures: Annotated[int, Field(ge=3, le=10)] = 5
    auth_second_factor_block_minutes: Annotated[int, Field(ge=1, le=DAY_MINUTES)] = 15
    # Off: whoever reads a mailbox would be in without a password. Who turns it on trusts mail for that.
    auth_magic_link_enabled: bool = False
    magic_link_token_ttl_minutes: Annotated[int, Field(ge=1, le=10)] = 10

    # As JSON: {"ip:token": 1000} changes that one of RATE_LIMITS. The four below are variables of their own.
    auth_rate_limits: dict[str, Count] = Field(default_factory=dict)
    email_verification_email_rate_limit_per_hour: Count = 3
    email_verification_ip_rate_limit_per_hour: Count = 10
    password_reset_email_rate_limit_per_hour: Count = 5
    password_reset_ip_rate_limit_per_hour: Count = 20
    # Failures in a row (no more than 10: see security/lockout.py), or from one address, and how long that
    # account or address is locked then.
    auth_lockout_threshold: Annotated[int, Field(ge=1, le=10)] = 5
    auth_lockout_window_minutes: Minutes = 60
    auth_lockout_duration_minutes: Minutes = 60
    auth_ip_lockout_threshold: Count = 50
    auth_ip_lockout_window_minutes: Minutes = 10
    auth_ip_lockout_duration_minutes: Minutes = 10
    # Failures within an hour that look like an attack, of which the operators are told: from one network (/24
    # of IPv4, /48 of IPv6) with so many accounts; or with so many accounts from so many networks.
    auth_spraying_alarm_accounts: Count = 20
    auth_stuffing_alarm_accounts: Count = 100
    auth_stuffing_alarm_networks: Count = 50

    # Where new signing keys are made; of one in Vault, only where it is and when it signs is stored.
    auth_signer: Literal["file", "vault"] = "file"
    auth_vault_signing_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = "auth-access-tokens"

    vault_verify_enabled: bool = False
    vault_addr: str | None = None
    vault_token: SecretStr | None = None
    # Or a file with it, which Vault's agent writes anew before the token ends.
    vault_token_file: Path | None = None
    vault_transit_key: str | None = None
    # Which service accounts there are (YAML, see security/service_account_catalogue.py), and who may issue
    # credentials for them.
    auth_service_accounts_file: Path | None = None
    auth_service_account_issuer: str = "acme-operator"

    @property
    def limits(self) -> CallLimits:
        """How often the service may be called."""
        return self.auth_limits

    @property
    def rate_limits(self) -> dict[str, tuple[int, int]]:
        """How often each use is allowed, and in how many seconds."""
        counts = {
            "ip:email/send": self.email_verification_ip_rate_limit_per_hour,
            "subject:mail": self.email_verification_email_rate_limit_per_hour,
            "ip:password/forgot": self.password_reset_ip_rate_limit_per_hour,
            "subject:password/forgot": self.password_reset_email_rate_limit_per_hour,
            "subject:factors/reset": self.password_reset_email_rate_limit_per_hour,
            **self.auth_rate_limits,
        }
        return {name: (counts.get(name, count), per) for name, (count, per) in RATE_LIMITS.items()}

    @property
    def answer_floor(self) -> float:
        """The seconds that answers take which must not tell what is known of an address."""
        return self.auth_answer_floor_ms / 1000

    @property
    def rp_id(self) -> str | None:
        """The host that passkeys are bound to (WebAuthn section 5.1.2); None when it is not configured."""
        return self.auth_webauthn_rp_id or (urlsplit(self.app_public_url or "").hostname or None)

    @property
    def passkey_origins(self) -> list[str]:
        """The origins that passkeys may be used from: scheme, host and port."""
        page = urlsplit(self.app_public_url or "")
        return self.auth_webauthn_origins or [f"{page.scheme}://{page.netloc}"]

    def longest_session(self, amr: Sequence[str]) -> timedelta:
        """Return how long a session that was begun so may go on."""
        longest = self.auth_session_ttl_minutes
        if "mfa" in amr:
            longest = min(longest, self.auth_mfa_session_ttl_minutes)
        return timedelta(minutes=longest)

    def current_vault_token(self) -> str:
        """Return our token for Vault as it is now; empty when there is none."""
        if self.vault_token or not self.vault_token_file:
            return self.vault_token.get_secret_value() if self.vault_token else ""
        try:
            return self.vault_token_file.read_text().strip()
        except OSError:
            return ""

    # Of each of these the first is for what is new, and all of them decrypt or verify.

    @property
    def session_keys(self) -> Keys:
        """The keys that encrypt what auth stores."""
        return self.auth_session_encryption_key.values

    @property
    def refresh_peppers(self) -> Keys:
        """The peppers of refresh tokens, devices, challenges and machines' secrets."""
        return self.auth_refresh_token_pepper.values

    @property
    def mail_peppers(self) -> Keys:
        """The peppers of emails' tokens and of invites."""
        return self.auth_email_verification_token_pepper.values

    @property
    def reset_peppers(self) -> Keys:
        """The peppers of the tokens that open an account."""
        return self.auth_password_reset_token_pepper.values

    @property
    def address_salts(self) -> Keys:
        """The salts of IP addresses."""
        return self.auth_session_ip_hash_salt.values

    @property
    def overlap(self) -> Overlap:
        """How long a key is published before it signs and after it has signed."""
        return Overlap(
            publish_lead=timedelta(minutes=self.auth_key_publish_lead_minutes),
            retire_lag=timedelta(minutes=self.auth_key_retire_lag_minutes),
        )

    def unfit_anywhere(self) -> list[str]:
        """Add what could never work, wherever it runs."""
        return [
            *super().unfit_anywhere(),
            *self.broken_sealing_keys(),
            *self.too_short_overlap(),
            *self.unknown_rate_limits(),
            *self.check_geoip(),
            *self.without_a_signer(),
        ]

    def unfit_for_production(self) -> list[str]:
        """Add what nobody may run in front of real people."""
        return [
            *super().unfit_for_production(),
            *self.shared_peppers(),
            *self.weak_password_hashing(),
            *self.check_vault(),
            *self.without_operators(),
        ]

    def broken_sealing_keys(self) -> list[str]:
        """List invalid encryption keys."""
        keys = {
            "AUTH_SESSION_ENCRYPTION_KEY": self.auth_session_encryption_key,
            "EVENT_SEALING_KEY": self.event_sealing_key,
        }
        return [
            f"{name} is invalid: {error}"
            for name, secret in keys.items()
            if secret
            for key in secret.values
            if (error := key_error(key))
        ]

    def too_short_overlap(self) -> list[str]:
        """List overlaps that are too short for caches or for the tokens' lifetime."""
        lead, lag = self.overlap.publish_lead.total_seconds(), self.overlap.retire_lag.total_seconds()
        cached = self.auth_jwks_max_age_seconds * 1.1 + CLOCK_SKEW_SECONDS
        living = self.access_token_expire_minutes * MINUTE + CLOCK_SKEW_SECONDS
        return [
            *(
                ["AUTH_KEY_PUBLISH_LEAD_MINUTES is shorter than caches keep the key set: raise it"]
                if lead < cached
                else []
            ),
            *(
                ["AUTH_KEY_RETIRE_LAG_MINUTES is shorter than an access token lives: raise it"]
                if lag < living
                else []
            ),
        ]

    def unknown_rate_limits(self) -> list[str]:
        """List names in AUTH_RATE_LIMITS that limit nothing."""
        unknown = sorted(self.auth_rate_limits.keys() - RATE_LIMITS.keys())
        return [f"AUTH_RATE_LIMITS is invalid: there is no limit named {name}" for name in unknown]

    def check_geoip(self) -> list[str]:
        """List country rules that lack a GeoIP database."""
        named = {
            "SIGNUP_ALLOWED_COUNTRIES": self.signup_allowed_countries,
            "SIGNUP_DENIED_COUNTRIES": self.signup_denied_countries,
        }
        needed = [name for name, countries in named.items() if countries and not self.auth_geoip_database]
        return [f"AUTH_GEOIP_DATABASE is missing: {name} needs it" for name in needed]

    def shared_peppers(self) -> list[str]:
        """List peppers that are the same: the loss of one would be the loss of both."""
        values = [
            (name.upper(), value.get_secret_value())
            for name in PEPPERS
            if (pepper := getattr(self, name)) is not None
            for value in pepper.values
        ]
        return [
            f"{one} and {other} must differ" if one != other else f"{one} has the same value twice"
            for (one, first), (other, second) in combinations(values, 2)
            if first and first == second
        ]

    def weak_password_hashing(self) -> list[str]:
        """List memory for Argon2id below the least that protects passwords."""
        is_weak = self.auth_password_memory_kib < MIN_PASSWORD_MEMORY_KIB
        return [f"AUTH_PASSWORD_MEMORY_KIB must be {MIN_PASSWORD_MEMORY_KIB} or more"] if is_weak else []

    def without_operators(self) -> list[str]:
        """List a missing operators' tenant."""
        undecided = self.auth_signup_policy == "approval" and self.auth_operator_tenant_id is None
        return (
            ["AUTH_OPERATOR_TENANT_ID is missing: AUTH_SIGNUP_POLICY=approval needs it"] if undecided else []
        )

    def without_a_signer(self) -> list[str]:
        """List what is missing of Vault when it is to sign."""
        if self.auth_signer == "file":
            return []
        return [
            *(
                f"{name} is missing: AUTH_SIGNER=vault needs it"
                for name, value in self.vault_access().items()
                if not value
            ),
            # Who vouches for machines has a key of their own, which auth may only verify with.
            *(
                ["AUTH_VAULT_SIGNING_KEY and VAULT_TRANSIT_KEY must differ"]
                if self.auth_vault_signing_key == self.vault_transit_key
                else []
            ),
        ]

    def vault_access(self) -> dict[str, object]:
        """Return what takes us to Vault, by the variables."""
        return {"VAULT_ADDR": self.vault_addr, "VAULT_TOKEN": self.vault_token or self.vault_token_file}

    def check_vault(self) -> list[str]:
        """List what is missing of Vault, which machine accounts are verified with."""
        fields = {**self.vault_access(), "VAULT_TRANSIT_KEY": self.vault_transit_key}
        return [
            *([] if self.vault_verify_enabled else ["VAULT_VERIFY_ENABLED must be true in production"]),
            *(
                f"{name} is missing: service accounts are verified with Vault in production"
                for name, value in fields.items()
                if not value
            ),
            # Our token for it goes with every request.
            *(
                ["VAULT_ADDR must begin with https:"]
                if (self.vault_addr or "https:").startswith("http:")
                else []
            ),
        ]


def key_error(key: SecretStr) -> str | None:
    """Return what is wrong with a sealing key, if anything is."""
    try:
        encrypt(key, "", context="")
    except InvalidEncryptionKey as error:
        return str(error)
    return None

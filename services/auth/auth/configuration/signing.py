"""Where the signing keys of access tokens are, how long they are published, and Vault."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from auth.configuration.types import DAY_MINUTES, MINUTE, Minutes

# How far apart clocks may be, and how long a response may stay in a cache on its way.
CLOCK_SKEW_SECONDS = 60


@dataclass(frozen=True)
class Overlap:
    """How long a key is published before it signs, and how long after another has taken its place.

    The lead must be longer than any cache keeps the key set; the lag longer than any token of the key lives.
    """

    publish_lead: timedelta
    retire_lag: timedelta


class VaultSettings(BaseModel):
    """How Vault is reached, and which service accounts it vouches for."""

    vault_verify_enabled: bool = False
    vault_addr: str | None = None
    vault_token: SecretStr | None = None
    # Or a file that contains it, which Vault's agent renews before the token ends.
    vault_token_file: Path | None = None
    vault_transit_key: str | None = None
    # The service accounts (YAML, see security/service_account_catalogue.py), and the issuer of credentials.
    auth_service_accounts_file: Path | None = None
    auth_service_account_issuer: str = "acme-operator"

    def current_vault_token(self) -> str:
        """Return the current token for Vault; empty when there is none."""
        if self.vault_token or not self.vault_token_file:
            return self.vault_token.get_secret_value() if self.vault_token else ""
        try:
            return self.vault_token_file.read_text().strip()
        except OSError:
            return ""

    def vault_access(self) -> dict[str, object]:
        """Return the settings without which Vault cannot be reached, by variable."""
        return {"VAULT_ADDR": self.vault_addr, "VAULT_TOKEN": self.vault_token or self.vault_token_file}

    def check_vault(self) -> list[str]:
        """List what is missing to verify service accounts with Vault in production."""
        fields = {**self.vault_access(), "VAULT_TRANSIT_KEY": self.vault_transit_key}
        return [
            *([] if self.vault_verify_enabled else ["VAULT_VERIFY_ENABLED must be true in production"]),
            *(
                f"{name} is missing: service accounts are verified with Vault in production"
                for name, value in fields.items()
                if not value
            ),
            # The token for Vault is sent with every request.
            *(
                ["VAULT_ADDR must begin with https:"]
                if (self.vault_addr or "https:").startswith("http:")
                else []
            ),
        ]


class SigningSettings(VaultSettings):
    """The signing keys of access tokens."""

    # Where new signing keys are created; of one in Vault, only its place and its times are stored.
    auth_signer: Literal["file", "vault"] = "file"
    auth_vault_signing_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = "auth-access-tokens"
    # A file on storage that all replicas share; without one, the signing keys are in the database.
    auth_key_storage_path: Path | None = None
    auth_jwks_max_age_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    auth_key_publish_lead_minutes: Minutes = DAY_MINUTES
    auth_key_retire_lag_minutes: Minutes = DAY_MINUTES
    access_token_expire_minutes: Annotated[int, Field(ge=1, le=15)] = 10

    @property
    def overlap(self) -> Overlap:
        """How long a key is published before it signs and after it has signed."""
        return Overlap(
            publish_lead=timedelta(minutes=self.auth_key_publish_lead_minutes),
            retire_lag=timedelta(minutes=self.auth_key_retire_lag_minutes),
        )

    def too_short_overlap(self) -> list[str]:
        """List overlaps that are too short for caches or for the tokens' lifetime."""
        lead, lag = self.overlap.publish_lead.total_seconds(), self.overlap.retire_lag.total_seconds()
        cached = self.auth_jwks_max_age_seconds * 1.1 + CLOCK_SKEW_SECONDS
        living = self.access_token_expire_minutes * MINUTE + CLOCK_SKEW_SECONDS
        faults = {
            "AUTH_KEY_PUBLISH_LEAD_MINUTES is shorter than caches keep the key set: raise it": lead < cached,
            "AUTH_KEY_RETIRE_LAG_MINUTES is shorter than an access token lives: raise it": lag < living,
        }
        return [fault for fault, is_present in faults.items() if is_present]

    def without_a_signer(self) -> list[str]:
        """List what is missing or wrong when Vault is to sign."""
        if self.auth_signer == "file":
            return []
        missing = [
            f"{name} is missing: AUTH_SIGNER=vault needs it"
            for name, value in self.vault_access().items()
            if not value
        ]
        # Operators sign for service accounts with a key of their own, which auth may only verify with.
        if self.auth_vault_signing_key == self.vault_transit_key:
            missing.append("AUTH_VAULT_SIGNING_KEY and VAULT_TRANSIT_KEY must differ")
        return missing

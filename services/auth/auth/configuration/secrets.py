"""The peppers, salts and encryption keys of auth, and the secrets of the other services."""

from itertools import combinations

from pydantic import BaseModel, Field, SecretStr
from servicekit.encryption import InvalidEncryptionKey, encrypt

from auth.configuration.types import EncryptionKey, Keys, Pepper, RandomSecret

PEPPERS = (
    "auth_password_pepper",
    "auth_refresh_token_pepper",
    "auth_email_verification_token_pepper",
    "auth_password_reset_token_pepper",
)
STRONG_SECRETS = frozenset(
    {*PEPPERS, "auth_jwks_etag_salt", "auth_session_ip_hash_salt", "auth_service_secrets"}
)


class SecretSettings(BaseModel):
    """Secrets; of each rotating one the first value is used for what is new, and all decrypt or verify."""

    auth_password_pepper: Pepper
    auth_refresh_token_pepper: Pepper
    auth_email_verification_token_pepper: Pepper
    auth_password_reset_token_pepper: Pepper
    auth_jwks_etag_salt: RandomSecret
    # 32 bytes, URL-safe base64: encrypts the devices of sessions and the seeds of second factors.
    auth_session_encryption_key: EncryptionKey
    auth_session_ip_hash_salt: Pepper
    event_sealing_key: EncryptionKey
    # The secret of each service, by its client id: {"chat-agent": "..."}.
    auth_service_secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="a JSON object with the SERVICE_CLIENT_SECRET of each service, by its name",
    )

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
        """The peppers of the tokens in emails and of invites."""
        return self.auth_email_verification_token_pepper.values

    @property
    def reset_peppers(self) -> Keys:
        """The peppers of the tokens that open an account."""
        return self.auth_password_reset_token_pepper.values

    @property
    def address_salts(self) -> Keys:
        """The salts of IP addresses."""
        return self.auth_session_ip_hash_salt.values

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


def key_error(key: SecretStr) -> str | None:
    """Return what is wrong with an encryption key, if anything is."""
    try:
        encrypt(key, "", context="")
    except InvalidEncryptionKey as error:
        return str(error)
    return None

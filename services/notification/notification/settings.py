"""What notification is told from outside."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints
from servicekit.call_limits import CallLimits
from servicekit.encryption import encrypt
from servicekit.settings import ServiceSettings, current_and_previous


def validate_key(key: SecretStr | None) -> SecretStr | None:
    """Refuse at boot a key that would fail at the first mail."""
    if key is not None:
        encrypt(key, "", context="")
    return key


HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


class Settings(ServiceSettings):
    """The variables of this service, beside those that every service has."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    notification_limits: CallLimits = CallLimits()

    required_in_production = frozenset({"service_client_secret"})

    # Where people find the web application; links in mails are built from it.
    app_public_url: HttpUrl = Field(
        description="the address of the web application, as in https://app.example.com"
    )
    # Opens what auth has sealed for us; the same value there.
    event_sealing_key: Annotated[SecretStr, AfterValidator(validate_key)] = Field(
        description="the same 32 bytes in base64 as auth's"
    )
    # The one before, or the next one: what it sealed opens as well.
    previous_event_sealing_key: Annotated[SecretStr | None, AfterValidator(validate_key)] = None

    resend_email_enabled: bool = False
    resend_api_key: SecretStr | None = None
    resend_default_from: str | None = None
    resend_base_url: HttpUrl = "https://api.resend.com"
    # Templates kept at Resend; without an id, the template of that name in `templates/` is used.
    resend_email_verification_template_id: str | None = None
    resend_password_reset_template_id: str | None = None

    @property
    def limits(self) -> CallLimits:
        """How often the service may be called."""
        return self.notification_limits

    @property
    def sealing_keys(self) -> tuple[SecretStr, ...]:
        """List the keys that auth may have sealed with."""
        return current_and_previous(self.event_sealing_key, self.previous_event_sealing_key)

    @property
    def template_ids(self) -> dict[str, str | None]:
        """Tell which of our templates is replaced by one that is kept at Resend."""
        return {
            "email_verification": self.resend_email_verification_template_id,
            "password_reset": self.resend_password_reset_template_id,
        }

    def incomplete_sinks(self) -> list[str]:
        """Add what sending mail cannot do without, in development too."""
        required = {"RESEND_API_KEY": self.resend_api_key, "RESEND_DEFAULT_FROM": self.resend_default_from}
        missing = [name for name, value in required.items() if not value] if self.resend_email_enabled else []
        return [
            *super().incomplete_sinks(),
            *(f"{name} is missing: RESEND_EMAIL_ENABLED=true needs it" for name in missing),
        ]

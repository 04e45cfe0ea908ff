"""Settings of notification."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints
from servicekit.auth.call_limits import CallLimits
from servicekit.encryption import check_keys
from servicekit.settings import RotatingSecret, ServiceSettings

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


# Variables of before, and what replaces each.
REPLACED_VARIABLES = {"PREVIOUS_EVENT_SEALING_KEY": "EVENT_SEALING_KEY=new,old"}


class Settings(ServiceSettings):
    """The variables of this service, in addition to those that every service has."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    notification_limits: CallLimits = CallLimits()

    required_in_production = frozenset({"service_client_secret"})
    replaced_variables = REPLACED_VARIABLES

    # The web application that links in emails lead to.
    app_public_url: HttpUrl = Field(
        description="the address of the web application, as in https://app.example.com"
    )
    # Decrypts the tokens that auth has encrypted for this service; the same value there.
    # While it changes, several with commas between them: tokens of any of them are decrypted.
    event_sealing_key: Annotated[RotatingSecret, AfterValidator(check_keys)] = Field(
        description="the same 32 bytes in base64 as auth's"
    )

    # Where billing-webhook says where a tenant's billing emails go.
    billing_internal_url: str = "http://billing-webhook:9000"

    resend_email_enabled: bool = False
    resend_api_key: SecretStr | None = None
    resend_default_from: str | None = None
    resend_base_url: HttpUrl = "https://api.resend.com"
    # Templates hosted at Resend; without an id, our own is used.
    resend_email_verification_template_id: str | None = None
    resend_password_reset_template_id: str | None = None

    @property
    def limits(self) -> CallLimits:
        """Return the rate limits of this service."""
        return self.notification_limits

    @property
    def sealing_keys(self) -> tuple[SecretStr, ...]:
        """Return the keys that auth may have encrypted with."""
        return self.event_sealing_key.values

    @property
    def template_ids(self) -> dict[str, str | None]:
        """Return the ids of the templates hosted at Resend, by the name of ours that they replace."""
        return {
            "email_verification": self.resend_email_verification_template_id,
            "password_reset": self.resend_password_reset_template_id,
        }

    def incomplete_sinks(self) -> list[str]:
        """Add the variables that sending email requires, in development too."""
        required = {"RESEND_API_KEY": self.resend_api_key, "RESEND_DEFAULT_FROM": self.resend_default_from}
        missing = [name for name, value in required.items() if not value] if self.resend_email_enabled else []
        return [
            *super().incomplete_sinks(),
            *(f"{name} is missing: RESEND_EMAIL_ENABLED=true needs it" for name in missing),
        ]

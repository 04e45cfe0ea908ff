"""Settings of billing-webhook."""

from typing import Self

from pydantic import Field, SecretStr
from servicekit.app import Resources
from servicekit.auth.call_limits import CallLimits
from servicekit.http.client import HttpPool
from servicekit.settings import ServiceSettings
from stripe import StripeClient

from billing_webhook import stripe_client
from billing_webhook.plans.catalog import catalog

LIVE_KEYS = ("sk_live_", "rk_live_")


class Settings(ServiceSettings):
    """The variables of this service, in addition to those that every service has."""

    # As JSON: {"writes_per_person": 60} changes that one, of the calls a minute.
    billing_limits: CallLimits = CallLimits()

    required_in_production = frozenset({"service_client_secret"})

    enable_billing: bool = False
    enable_billing_stream: bool = False
    # False: a client that reconnects is told to reset, instead of getting what it has missed.
    enable_billing_stream_replay: bool = True
    # Where replicas announce new events to each other; empty: REDIS_URL.
    billing_events_redis_url: SecretStr | None = None
    # Of each user.
    billing_stream_rate_limit_per_minute: int = Field(20, ge=1)
    billing_stream_concurrent_limit: int = Field(3, ge=1)
    # All users of a tenant together.
    billing_tenant_stream_rate_limit_per_minute: int = Field(1000, ge=1)
    billing_tenant_stream_concurrent_limit: int = Field(150, ge=1)
    billing_stream_heartbeat_seconds: float = 15
    # Then the client reconnects, to whichever replica there is.
    billing_stream_lifetime_seconds: float = 600
    # How long a client may leave the stream unread.
    billing_stream_write_timeout_seconds: float = 30
    billing_event_retention_days: int = 90
    stripe_secret_key: SecretStr | None = None
    # Several, separated by commas, while one is being replaced.
    stripe_webhook_secret: SecretStr | None = None
    # How far from this clock a signature's time may be. Stripe's library takes 0 for "do not check".
    stripe_webhook_tolerance_seconds: int = Field(300, ge=1, le=600)
    # Of one client address.
    stripe_webhooks_per_minute: int = Field(6000, ge=1)
    # By default, what the secret key is of: events of the other mode are stored and not processed.
    stripe_livemode: bool | None = None
    # As JSON: connected accounts and contexts whose events are processed, besides those of our own account.
    stripe_accounts: list[str] = Field(default_factory=list)
    # Whether this process works on stored events. Where none does, they wait.
    enable_billing_retry_worker: bool = True
    # Plan codes and their price ids: {"starter": "price_..."}. Other plans' prices are found by lookup key.
    stripe_product_price_map: dict[str, str] = Field(default_factory=dict)
    # The plan whose trial a new tenant begins with; without it, the free plan.
    billing_signup_plan: str = ""
    # How long ago somebody must have proved who they are, at most, to change a subscription.
    auth_step_up_minutes: int = Field(15, ge=1, le=60)
    # Another address than Stripe's own, as of the sandbox.
    stripe_api_base: str = ""
    # How long a counter's usage is gathered, at most, before it is sent to Stripe's meter as one event.
    billing_meter_window_minutes: int = Field(60, ge=0, le=1440)
    # Where people change their plan: /billing of the frontend.
    app_public_url: str | None = None
    # By how much the calls of a run that has started may exceed a hard limit of the plan, so that it can end.
    billing_run_overage_percent: int = Field(default=10, ge=0, le=100)

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Return the settings that a service was made with."""
        assert isinstance(resources.settings, cls)  # noqa: S101  # what `create_app` makes it with
        return resources.settings

    @property
    def limits(self) -> CallLimits:
        """Return the rate limits of this service."""
        return self.billing_limits

    @property
    def webhook_secrets(self) -> list[str]:
        """Return the secrets that a webhook may be signed with, never an empty one."""
        text = self.stripe_webhook_secret.get_secret_value() if self.stripe_webhook_secret else ""
        return [secret.strip() for secret in text.split(",") if secret.strip()]

    @property
    def livemode(self) -> bool:
        """Return whether this installation is for real money."""
        key = self.stripe_secret_key.get_secret_value() if self.stripe_secret_key else ""
        return key.startswith(LIVE_KEYS) if self.stripe_livemode is None else self.stripe_livemode

    def stripe(self, pool: HttpPool) -> StripeClient | None:
        """Return a client of Stripe; None without a key."""
        key = self.stripe_secret_key.get_secret_value() if self.stripe_secret_key else ""
        return stripe_client.connect(pool, key, self.stripe_api_base) if key else None

    @property
    def signup_plan(self) -> str | None:
        """Return the plan whose trial a new tenant begins with, if there is one."""
        return self.billing_signup_plan if self.enable_billing and self.billing_signup_plan else None

    def unfit_anywhere(self) -> list[str]:
        """Add prices for plans that do not exist."""
        paid = {plan.code for plan in catalog().paid_plans}
        unknown = sorted((self.stripe_product_price_map or {}).keys() - paid)
        signup = {self.billing_signup_plan} - {"", None}
        return [
            *super().unfit_anywhere(),
            *(
                f"BILLING_SIGNUP_PLAN is invalid: plans.toml has no paid plan {code}"
                for code in signup - paid
            ),
            *(f"STRIPE_PRODUCT_PRICE_MAP is invalid: plans.toml has no paid plan {code}" for code in unknown),
        ]

    @property
    def upgrade_url(self) -> str | None:
        """Return the page on which people change their plan."""
        return f"{self.app_public_url.rstrip('/')}/billing" if self.app_public_url else None

    def unfit_for_production(self) -> list[str]:
        """Add the variables that billing requires."""
        required = {
            "STRIPE_SECRET_KEY": self.stripe_secret_key,
            "STRIPE_WEBHOOK_SECRET": self.webhook_secrets,
            "STRIPE_PRODUCT_PRICE_MAP": self.stripe_product_price_map,
        }
        missing = [name for name, value in required.items() if not value] if self.enable_billing else []
        return [
            *super().unfit_for_production(),
            *(f"{name} is missing: ENABLE_BILLING=true needs it" for name in missing),
        ]

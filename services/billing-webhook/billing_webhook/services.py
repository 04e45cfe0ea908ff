"""What commands to Stripe are executed with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from servicekit.app import Resources
from servicekit.database import Database
from stripe import StripeClient

from billing_webhook.settings import Settings


@dataclass(frozen=True, kw_only=True)
class BillingServices:
    """The database, Stripe, and the settings that say which price is whose."""

    database: Database
    stripe: StripeClient
    settings: Settings
    # By lookup key, as Stripe has told: prices do not change.
    price_ids: dict[str, str] = field(default_factory=dict)

    @property
    def price_map(self) -> Mapping[str, str]:
        """Return plan codes with the ids of their prices, as STRIPE_PRODUCT_PRICE_MAP says."""
        return self.settings.stripe_product_price_map

    @classmethod
    def from_resources(cls, resources: Resources) -> "BillingServices | None":
        """Return the services; None where no key of Stripe is set."""
        settings = Settings.of(resources)
        client = settings.stripe(resources.http)
        return None if client is None else cls(database=resources.database, stripe=client, settings=settings)

"""What tokens cost, by the model prices of plans.toml."""

import logging
from decimal import Decimal

from billing_webhook.plans.catalog import catalog
from billing_webhook.quantities import rounded

logger = logging.getLogger(__name__)

PRICED_TOKENS = 1_000_000


def cost(model: str, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Decimal:
    """Return the cost in minor units; cached tokens are part of the input, and cheaper.

    A model without a price of its own costs as `models.default` says.
    """
    if model not in catalog().models:
        logger.warning("model has no price; the default applies", extra={"model": model})
    price = catalog().model_price(model)
    cached = min(cached_tokens, input_tokens)
    total = (input_tokens - cached) * price.input + cached * price.cached + output_tokens * price.output
    return rounded(total / PRICED_TOKENS)

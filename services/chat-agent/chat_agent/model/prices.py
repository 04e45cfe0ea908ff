"""What tokens cost, and how many fit into a model: as the operator says, else as `genai-prices` estimates."""

import json
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter

from chat_agent.settings import ModelFacts, Price, Settings

if TYPE_CHECKING:  # it takes longer to import than all of this package
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

MICRO = 1_000_000
OPENAI = "openai"
# What `genai-prices` calls the providers.
PROVIDERS = {OPENAI: "openai", "anthropic": "anthropic", "gemini": "google", "xai": "x-ai"}
FILE = TypeAdapter(dict[str, ModelFacts])


class Tokens(NamedTuple):
    """The tokens of one call; those cached and those written to a cache are part of the input."""

    input: int
    cached: int
    cache_write: int
    output: int


class Catalogue:
    """Prices and context lengths of models. What is not known of one is None, never 0."""

    def __init__(self, facts: dict[str, ModelFacts] | None = None) -> None:
        self._facts = facts or {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Catalogue":
        """Build the catalogue; the variables win over the file. Raises OSError, ValueError for a bad file."""
        path = settings.model_catalogue_file
        facts = FILE.validate_python(json.loads(path.read_bytes())) if path else {}
        for name, price in settings.model_prices.items():
            facts[name] = facts.get(name, ModelFacts()).model_copy(update={"price": price})
        for name, length in settings.model_context_lengths.items():
            facts[name] = facts.get(name, ModelFacts()).model_copy(update={"context_length": length})
        return cls(facts)

    def cost(self, model: str, tokens: Tokens) -> Decimal | None:
        """Return what a call costs in millionths of a dollar, exactly."""
        if (facts := self._facts.get(model)) and facts.price:
            return cost_of(facts.price, tokens)
        if (known := find(model)) is None:
            return None
        return estimated_cost(*known, tokens)

    def context_length(self, model: str) -> int | None:
        """Return how many tokens fit into a model."""
        if (facts := self._facts.get(model)) and facts.context_length:
            return facts.context_length
        known = find(model)
        return known[1].context_window if known else None

    def price(self, model: str) -> Price | None:
        """Return what a model's tokens cost; of prices by the size of a call, those of a small one."""
        if (facts := self._facts.get(model)) and facts.price:
            return facts.price
        known = find(model)
        return price_of(known[1]) if known else None


def load() -> None:
    """Load the estimates, before the first run needs them."""
    find("openai/gpt-5.1")


@lru_cache(maxsize=1024)
def find(model: str) -> "tuple[Provider, ModelInfo] | None":
    """Return the estimates for a model of the provider that its name begins with, or else of OpenAI."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  # see above

    prefix, _, name = model.partition("/")
    provider, name = (prefix, name) if prefix in PROVIDERS else (OPENAI, model)
    try:
        return get_snapshot().find_provider_model(name, None, PROVIDERS[provider], None)
    except LookupError:
        return None


def cost_of(price: Price, tokens: Tokens) -> Decimal:
    """Return what tokens cost at a price that the operator has set."""
    write = price.input if price.cache_write is None else price.cache_write
    fresh = tokens.input - tokens.cached - tokens.cache_write
    numerator = (
        fresh * price.input
        + tokens.cached * price.cached
        + tokens.cache_write * write
        + tokens.output * price.output
    )
    return Decimal(numerator) / MICRO


def estimated_cost(provider: "Provider", model: "ModelInfo", tokens: Tokens) -> Decimal | None:
    """Return what tokens cost by the estimates; none where they do not say it of this kind of model."""
    from genai_prices import Usage  # noqa: PLC0415  # see above

    usage = Usage(
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output,
    )
    try:
        return model.calc_price(usage, provider).total_price * MICRO
    except ValueError:
        return None


def price_of(model: "ModelInfo") -> Price | None:
    """Return the estimates as a price; none where they do not say what text costs."""
    from datetime import UTC, datetime  # noqa: PLC0415

    prices = model.get_prices(datetime.now(UTC))
    fresh, output = amount(prices, "input_mtok"), amount(prices, "output_mtok")
    if fresh is None or output is None:
        return None
    cached = amount(prices, "cache_read_mtok")
    return Price(
        input=fresh,
        cached=fresh if cached is None else cached,
        cache_write=amount(prices, "cache_write_mtok"),
        output=output,
    )


def amount(prices: "ModelPrice", name: str) -> int | None:
    """Return a price in millionths of a dollar for a million tokens."""
    price: Decimal | TieredPrices | None = getattr(prices, name, None)
    if price is None:
        return None
    return round((price if isinstance(price, Decimal) else price.base) * MICRO)

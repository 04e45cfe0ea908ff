"""The plans of plans.toml, parsed once and strictly."""

import tomllib
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

FREE = "free"
DEFAULT_MODEL = "default"
# What runs use; reservations and budgets add it up.
RUN_FEATURES = ("cost", "input_tokens", "messages", "output_tokens")
FILE = Path(__file__).with_name("plans.toml")


def to_decimal(value: object) -> object:
    """Return a decimal number for an integer or a text; anything else, above all a float, is refused."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be an integer, or a decimal number as text")
    return Decimal(value) if isinstance(value, int) else value


Quantity = Annotated[Decimal, BeforeValidator(to_decimal), Field(ge=0, max_digits=30, decimal_places=12)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")]


class Entry(BaseModel):
    """A part of the file, in which nothing is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(Entry):
    """What a seat of the plan costs for each interval."""

    interval: Literal["month", "year"]
    amount: Annotated[int, Field(gt=0, strict=True)]
    currency: Currency
    lookup_key: Key


class MeteredPrice(Entry):
    """What a unit of a feature costs beyond those that the plan includes for each period."""

    feature: Key
    unit_amount: Quantity
    included: Annotated[int, Field(ge=0, strict=True)] = 0
    currency: Currency
    lookup_key: Key


class Limit(Entry):
    """How much of a feature a plan contains: `hard` refuses what is more, `soft` warns."""

    limit: Quantity
    kind: Literal["hard", "soft"]
    reset: Literal["period", "never"] = "period"


class RequestLimits(Entry):
    """How large one request to an agent may be; without a value, as the installation says."""

    message_characters: Annotated[int, Field(ge=1, strict=True)] | None = None
    attachment_bytes: Annotated[int, Field(ge=0, strict=True)] | None = None


class Plan(Entry):
    """A plan; without prices it costs nothing, and Stripe does not know it."""

    code: Key
    name: str
    trial_days: Annotated[int, Field(ge=0, le=730, strict=True)] = 0
    prices: tuple[Price, ...] = ()
    metered_prices: tuple[MeteredPrice, ...] = ()
    features: dict[Key, bool | Limit]
    requests: RequestLimits = RequestLimits()

    @property
    def is_paid(self) -> bool:
        """Return whether Stripe bills this plan."""
        return bool(self.prices)

    @property
    def price(self) -> Price:
        """Return the price that new subscriptions have."""
        return self.prices[0]

    @property
    def lookup_keys(self) -> list[str]:
        """List the lookup keys of all prices."""
        return [price.lookup_key for price in self.prices] + [
            price.lookup_key for price in self.metered_prices
        ]

    def limit(self, feature: str) -> Limit | None:
        """Return the limit of a feature; None where the plan has none, or not the feature."""
        found = self.features.get(feature)
        return found if isinstance(found, Limit) else None

    def includes(self, feature: str) -> bool:
        """Return whether the plan has a feature."""
        return self.features.get(feature, False) is not False


class Aggregation(Entry):
    """How the records of a period make the total of a feature, where that is not their sum."""

    feature: Key
    kind: Literal["count", "max", "last", "unique"]
    # Of `unique`: the dimension whose different values are counted.
    dimension: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class Meter(Entry):
    """Where Stripe adds up what is used of a feature.

    Always a sum, whatever the feature's own aggregation is: it gets what the total has changed by.
    """

    # A part of the identifiers of meter events, which have at most 100 characters.
    feature: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    event_name: Key
    aggregation: Literal["sum"]


class ModelPrice(Entry):
    """What a model costs, in minor units for a million tokens."""

    input: Quantity
    output: Quantity
    cached: Quantity


class Catalog(Entry):
    """Everything that plans.toml says."""

    plans: tuple[Plan, ...]
    meters: tuple[Meter, ...]
    aggregations: tuple[Aggregation, ...] = ()
    models: dict[str, ModelPrice]

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse a file whose parts contradict each other."""
        keys = [key for plan in self.plans for key in plan.lookup_keys]
        for name, values in (
            ("plan", [plan.code for plan in self.plans]),
            ("lookup_key", keys),
            ("meter", [meter.feature for meter in self.meters]),
            ("event_name", [meter.event_name for meter in self.meters]),
            ("aggregation", [each.feature for each in self.aggregations]),
        ):
            if repeated := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"each {name} must be there once: {', '.join(sorted(repeated))}")
        self.check_aggregations()
        metered = {price.feature for plan in self.plans for price in plan.metered_prices}
        if unknown := metered - {meter.feature for meter in self.meters}:
            raise ValueError(f"features with a metered price need a meter: {', '.join(sorted(unknown))}")
        if FREE not in {plan.code for plan in self.plans} or self.plan(FREE).is_paid:
            raise ValueError(f"there must be a plan {FREE!r} without prices")
        if DEFAULT_MODEL not in self.models:
            raise ValueError(f"models must have a price for {DEFAULT_MODEL!r}")
        return self

    def check_aggregations(self) -> None:
        """Refuse aggregations of features that no plan has, or that runs use; raises ValueError."""
        for each in self.aggregations:
            if each.feature not in self.features or each.feature in RUN_FEATURES:
                raise ValueError(f"{each.feature}: no plan has it, or runs use it and are added up")
            if (each.kind == "unique") != (each.dimension is not None):
                raise ValueError(f"{each.feature}: `unique`, and only that, needs a dimension")

    @property
    def paid_plans(self) -> tuple[Plan, ...]:
        """List the plans that Stripe bills."""
        return tuple(plan for plan in self.plans if plan.is_paid)

    @property
    def features(self) -> frozenset[str]:
        """List every feature that some plan names."""
        return frozenset(feature for plan in self.plans for feature in plan.features)

    def find(self, code: str) -> Plan | None:
        """Return a plan; None if there is none with this code."""
        return next((plan for plan in self.plans if plan.code == code), None)

    def plan(self, code: str) -> Plan:
        """Return a plan that exists; raises KeyError."""
        if (found := self.find(code)) is None:
            raise KeyError(code)
        return found

    def plan_of_price(self, lookup_key: str | None) -> Plan | None:
        """Return the plan that a price at Stripe belongs to, by its lookup key."""
        return next(
            (plan for plan in self.plans if any(price.lookup_key == lookup_key for price in plan.prices)),
            None,
        )

    def meter(self, feature: str) -> Meter | None:
        """Return the meter of a feature; None where Stripe does not count it."""
        return next((meter for meter in self.meters if meter.feature == feature), None)

    def aggregation(self, feature: str) -> Aggregation | None:
        """Return how a feature's records are aggregated; None where they are added up."""
        return next((each for each in self.aggregations if each.feature == feature), None)

    def model_price(self, model: str) -> ModelPrice:
        """Return what a model costs."""
        return self.models.get(model, self.models[DEFAULT_MODEL])


def parse(text: str) -> Catalog:
    """Parse the text of a plans.toml; raises ValueError."""
    return Catalog.model_validate(tomllib.loads(text, parse_float=str_only))


def str_only(number: str) -> str:
    """Refuse a float, which is not exact."""
    raise ValueError(f"{number}: write decimal numbers as text, in quotes")


@cache
def catalog() -> Catalog:
    """Return the plans, which the file that is part of this package contains."""
    return parse(FILE.read_text(encoding="utf-8"))

"""Amounts of money: integers of the smallest unit, computed in decimals, rounded half up once a line."""

from decimal import ROUND_HALF_UP, Decimal

from sandbox.stripe.objects import StripeObject


def to_minor_units(amount: Decimal) -> int:
    """Round to the smallest unit."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def price_of(price: StripeObject, quantity: Decimal) -> Decimal:
    """Return what a quantity costs, unrounded."""
    if tiers := price.get("_tiers"):
        return _graduated(tiers, quantity) if price["tiers_mode"] == "graduated" else _volume(tiers, quantity)
    return Decimal(price["unit_amount_decimal"]) * quantity


def prorated(price: StripeObject, quantity: Decimal, remaining: int, whole: int) -> int:
    """Return the part of an amount for the seconds that remain of a period."""
    return to_minor_units(price_of(price, quantity) * remaining / whole) if whole else 0


def _graduated(tiers: list[StripeObject], quantity: Decimal) -> Decimal:
    total, lower = Decimal(0), Decimal(0)
    for tier in tiers:
        upper = quantity if tier["up_to"] is None else min(quantity, Decimal(tier["up_to"]))
        if upper > lower or (not lower and not quantity):
            total += Decimal(tier["unit_amount_decimal"] or 0) * (upper - lower) + _flat(tier)
            lower = upper
    return total


def _volume(tiers: list[StripeObject], quantity: Decimal) -> Decimal:
    tier = next(each for each in tiers if each["up_to"] is None or quantity <= each["up_to"])
    return Decimal(tier["unit_amount_decimal"] or 0) * quantity + _flat(tier)


def _flat(tier: StripeObject) -> Decimal:
    return Decimal(tier["flat_amount_decimal"] or 0)

"""Reservations: what a run may use at most is taken from every limit before a model is called.

They stay until the usage of the run is recorded, and go in that transaction: nothing is counted twice, and
nothing is free in between. Transactions lock a run's reservations first, then counters in the order of their
keys.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from servicekit.erasure import ANONYMOUS_SUBJECT
from sqlalchemy import CTE, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import counters, refusals
from billing_webhook.entitlements.counters import Change, CounterKey
from billing_webhook.entitlements.pricing import cost
from billing_webhook.entitlements.quotas import Quota, Subject
from billing_webhook.entitlements.run_limits import RunLimits
from billing_webhook.entitlements.schemas import (
    Amounts,
    QuotaWarning,
    ReservationRequest,
    Settlement,
)
from billing_webhook.errors import ReservationConflict, ReservationNotFound
from billing_webhook.models import Reservation
from billing_webhook.quantities import to_text
from billing_webhook.settings import Settings

LIFETIME = timedelta(minutes=15)
REQUESTED = (
    *("user_id", "api_key_id", "agent", "model", "own_key"),
    *("messages", "input_tokens", "output_tokens"),
)


async def reserve(  # noqa: PLR0913, PLR0917  # what is reserved, and for what
    db: AsyncSession,
    limits: RunLimits,
    tenant_id: UUID,
    run_id: UUID,
    call: str,
    request: ReservationRequest,
) -> Reservation:
    """Reserve what a call uses at most, of all limits or of none.

    Raises QuotaExceeded, SubscriptionReadOnly, or ReservationConflict when the call was reserved with other
    amounts.
    """
    now = datetime.now(UTC)
    await counters.lock_shared(db, tenant_id)
    subject = Subject(request.user_id, request.api_key_id, request.agent)
    quotas = await limits.of_run(db, tenant_id, subject, now)
    amounts = estimate(request)
    row = insert(Reservation).values(
        tenant_id=tenant_id,
        run_id=run_id,
        call=call,
        **request.model_dump(include={*REQUESTED}),
        state="reserved",
        holds=[hold_of(quota.key, amounts.of(quota.feature)) for quota in quotas],
        warnings=[],
        expires_at=now + LIFETIME,
    )
    if not request.messages:
        row = row.add_cte(extension(tenant_id, run_id, now + LIFETIME))
    new = row.on_conflict_do_nothing().returning(Reservation)
    reservation: Reservation | None = await db.scalar(new)
    if reservation is None:
        return await find_same(db, tenant_id, run_id, call, request)
    warnings = await take(db, limits.settings, quotas, amounts)
    reservation.warnings = [warning.model_dump(mode="json") for warning in warnings]
    return reservation


def estimate(request: ReservationRequest) -> Amounts:
    """Return the amounts that a request reserves."""
    return Amounts(
        messages=request.messages,
        input_tokens=request.input_tokens,
        output_tokens=request.output_tokens,
        cost=cost_of(request, request.input_tokens, request.output_tokens),
        is_free=request.own_key,
    )


def cost_of(call: ReservationRequest | Reservation, input_tokens: int, output_tokens: int) -> Decimal:
    """Return what tokens of a call cost: nothing with a key of the tenant's own."""
    return Decimal(0) if call.own_key else cost(call.model, input_tokens, output_tokens)


async def find_same(
    db: AsyncSession, tenant_id: UUID, run_id: UUID, call: str, request: ReservationRequest
) -> Reservation:
    """Return the reservation that was made before; raises ReservationConflict for other amounts."""
    reservation = await find(db, tenant_id, run_id, call)
    if any(getattr(reservation, name) != getattr(request, name) for name in REQUESTED):
        raise ReservationConflict
    return reservation


async def find(
    db: AsyncSession, tenant_id: UUID, run_id: UUID, call: str, *, lock: bool = False
) -> Reservation:
    """Return a reservation; raises ReservationNotFound."""
    query = select(Reservation).filter_by(tenant_id=tenant_id, run_id=run_id, call=call)
    reservation = await db.scalar(query.with_for_update() if lock else query)
    if reservation is None:
        raise ReservationNotFound
    return reservation


def extension(tenant_id: UUID, run_id: UUID, expires_at: datetime) -> CTE:
    """Return the update that keeps the message of a run reserved for as long as the run makes calls."""
    extended = (
        update(Reservation)
        .filter_by(tenant_id=tenant_id, run_id=run_id, state="reserved")
        .where(Reservation.messages > 0, Reservation.expires_at < expires_at)
        .values(expires_at=expires_at)
    )
    return extended.returning(Reservation.call).cte("extended")


async def take(
    db: AsyncSession, settings: Settings, quotas: Sequence[Quota], amounts: Amounts
) -> list[QuotaWarning]:
    """Reserve amounts of all limits, and warn of the soft ones that are exceeded; raises QuotaExceeded.

    The transaction of a refusal is rolled back, and others wait for its end: nothing exceeds a limit.
    """
    requested = {
        quota: amount
        for quota in quotas
        # A run does not start whose first call to a model would be refused.
        if (amount := amounts.of(quota.feature)) or (quota.is_hard and amounts.is_checked(quota.feature))
    }
    changes = {quota.key: Change(reserved=amount) for quota, amount in requested.items()}
    totals = await counters.apply(db, changes)
    for quota, amount in requested.items():
        counter = Change(totals[quota.key].used, totals[quota.key].reserved - amount)
        if quota.is_hard and is_refused(settings, quota, amounts, counter):
            raise refusals.quota_exceeded(settings, quota, counter, amount)
    return [
        warning_of(quota, total)
        for quota in requested
        if (total := totals[quota.key].used + totals[quota.key].reserved) > quota.limit
    ]


def is_refused(settings: Settings, quota: Quota, amounts: Amounts, counter: Change) -> bool:
    """Return whether a hard limit leaves too little."""
    amount = amounts.of(quota.feature)
    total = counter.used + counter.reserved
    return total + amount > limit_of(settings, quota, amounts) if amount else total >= quota.limit


def warning_of(quota: Quota, total: Decimal) -> QuotaWarning:
    """Describe a limit that is exceeded."""
    return QuotaWarning(
        feature=quota.feature,
        scope=quota.scope,
        used=total,
        limit=quota.limit,
        resets_at=quota.period.end,
    )


def limit_of(settings: Settings, quota: Quota, amounts: Amounts) -> Decimal:
    """Return how far a call may go: a run that has started may exceed the plan's limit a little."""
    may_exceed = not amounts.messages and not quota.is_budget
    return quota.limit * (100 + settings.billing_run_overage_percent) / 100 if may_exceed else quota.limit


async def settle(
    db: AsyncSession, tenant_id: UUID, run_id: UUID, call: str, settlement: Settlement
) -> Reservation:
    """Replace the reserved amounts with what the call used, whatever the limits are; 0 releases it.

    Raises ReservationNotFound, or ReservationConflict when it was settled with other amounts.
    """
    if not (settlement.messages or settlement.input_tokens or settlement.output_tokens):
        await insert_released(db, tenant_id, run_id, call)
    reservation = await find(db, tenant_id, run_id, call, lock=True)
    messages = reservation.messages if settlement.messages is None else settlement.messages
    if reservation.state == "settled":
        before = (reservation.settled_input_tokens, reservation.settled_output_tokens)
        if before != (settlement.input_tokens, settlement.output_tokens):
            raise ReservationConflict
        return reservation
    used = Amounts(
        messages=messages,
        input_tokens=settlement.input_tokens,
        output_tokens=settlement.output_tokens,
        cost=cost_of(reservation, settlement.input_tokens, settlement.output_tokens),
    )
    reservation.state = "settled"
    reservation.settled_input_tokens = settlement.input_tokens
    reservation.settled_output_tokens = settlement.output_tokens
    await change_holds(db, reservation, [(key, used.of(key.feature)) for key, _ in holds_of(reservation)])
    await db.flush()
    return reservation


async def insert_released(db: AsyncSession, tenant_id: UUID, run_id: UUID, call: str) -> None:
    """Insert a reservation that is settled with nothing, where none has arrived.

    One that arrives after its release is then refused; it would hold its amounts until it expires.
    """
    unknown = {"user_id": ANONYMOUS_SUBJECT, "agent": "", "model": ""}
    nothing = dict.fromkeys(("messages", "input_tokens", "output_tokens"), 0)
    settled = {"state": "settled", "settled_input_tokens": 0, "settled_output_tokens": 0}
    row = {"tenant_id": tenant_id, "run_id": run_id, "call": call, **unknown, **nothing, **settled}
    released = insert(Reservation).values(**row, holds=[], warnings=[], expires_at=func.now())
    await db.execute(released.on_conflict_do_nothing())


async def change_holds(
    db: AsyncSession, reservation: Reservation, holds: Sequence[tuple[CounterKey, Decimal]]
) -> None:
    """Change what a reservation holds of each counter."""
    before = [(key, Change(reserved=-amount)) for key, amount in holds_of(reservation)]
    after = [(key, Change(reserved=amount)) for key, amount in holds]
    reservation.holds = [hold_of(key, amount) for key, amount in holds]
    await counters.apply(db, without_zeros(counters.sum_changes([*before, *after])))


async def close(db: AsyncSession, tenant_id: UUID, run_id: UUID) -> Sequence[Reservation]:
    """Delete the reservations of a run and return them; the caller releases their holds (`releases`)."""
    query = select(Reservation).filter_by(tenant_id=tenant_id, run_id=run_id)
    closed = (await db.scalars(query.order_by(Reservation.call).with_for_update())).all()
    if closed:
        await db.execute(
            delete(Reservation)
            .filter_by(tenant_id=tenant_id, run_id=run_id)
            .execution_options(synchronize_session=False)
        )
    return closed


def releases(reservations: Iterable[Reservation]) -> dict[CounterKey, Change]:
    """Return the changes of counters that release what reservations hold."""
    holds = (hold for reservation in reservations for hold in holds_of(reservation))
    return without_zeros(counters.sum_changes((key, Change(reserved=-amount)) for key, amount in holds))


def without_zeros(changes: dict[CounterKey, Change]) -> dict[CounterKey, Change]:
    """Leave out counters that do not change."""
    return {key: change for key, change in changes.items() if any(change)}


def hold_of(key: CounterKey, amount: Decimal) -> dict[str, Any]:
    """Describe an amount of a counter, as it is stored."""
    return {
        "feature": key.feature,
        "scope": key.scope,
        "period_start": key.period_start.isoformat(),
        "amount": to_text(amount),
    }


def holds_of(reservation: Reservation) -> list[tuple[CounterKey, Decimal]]:
    """Return what a reservation holds of each counter."""
    return [
        (
            CounterKey(
                reservation.tenant_id,
                hold["feature"],
                hold["scope"],
                datetime.fromisoformat(hold["period_start"]),
            ),
            Decimal(hold["amount"]),
        )
        for hold in reservation.holds
    ]

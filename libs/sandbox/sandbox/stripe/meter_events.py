"""Meter events of API v1 and v2, and their stream."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from uuid import uuid4

from sandbox.stripe.errors import StripeError
from sandbox.stripe.meters import KIND
from sandbox.stripe.objects import Params, StripeObject, new_id
from sandbox.stripe.operations import Operation
from sandbox.stripe.store import Store
from sandbox.stripe.thin_events import iso, thin_event

_DAY = 24 * 3600
_OLDEST, _FUTURE = 35 * _DAY, 5 * 60
_UNIQUE_FOR = _DAY
_SESSION_LIFETIME = 15 * 60
_MAX_STREAM, _MAX_EVENTS = 100, 1_000_000


def _record(store: Store, params: Params, timestamp: int) -> tuple[str, int]:
    """Count an event; returns its identifier and when it was received. What Stripe refuses is refused."""
    now = store.now()
    meter = _find_meter(store, params["event_name"])
    _check_timestamp(timestamp, now)
    value = _value_of(meter, params["payload"])
    identifier = params.get("identifier") or str(uuid4())
    _check_unique(store, identifier, now)
    customer_id = _customer_of(meter, params["payload"])
    event: StripeObject = {
        "canceled": False,
        "event_name": params["event_name"],
        "identifier": identifier,
        "order": len(store.identifiers),
        "received": now,
        "timestamp": timestamp,
        "value": str(value),
    }
    store.identifiers[identifier] = event
    store.touch()
    store.usage.setdefault(meter["id"], {}).setdefault(customer_id, []).append(event)
    if customer_id not in store.table("customer"):
        _report_unknown_customer(store, meter, identifier)
    return identifier, now


def _check_timestamp(timestamp: int, now: int) -> None:
    if timestamp < now - _OLDEST:
        message = "The timestamp must be within the past 35 calendar days."
        raise StripeError(message, "timestamp_too_far_in_past", "timestamp")
    if timestamp > now + _FUTURE:
        message = "The timestamp must not be more than 5 minutes in the future."
        raise StripeError(message, "timestamp_in_future", "timestamp")


def _find_meter(store: Store, event_name: str) -> StripeObject:
    meters = store.where(KIND, event_name=event_name)
    active = [meter for meter in meters if meter["status"] == "active"]
    if active:
        return active[0]
    if meters:
        raise StripeError("The meter of this event name is not active.", "archived_meter", "event_name")
    thin = thin_event(store, "v1.billing.meter.no_meter_found", None, None, _report("no_meter", event_name))
    store.announce(store.insert(thin))
    raise StripeError(f"No active meter found for the event name '{event_name}'.", "no_meter", "event_name")


def _value_of(meter: StripeObject, payload: dict[str, str]) -> Decimal:
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(payload.get(meter["value_settings"]["event_payload_key"]) or 1)
    name = meter["value_settings"]["event_payload_key"]
    try:
        value = Decimal(payload[name])
    except KeyError as error:
        message = f"The payload must have the key '{name}'."
        raise StripeError(message, "meter_event_invalid_value", f"payload[{name}]") from error
    except InvalidOperation as error:
        message = f"The value '{payload[name]}' is not a number."
        raise StripeError(message, "meter_event_invalid_value", f"payload[{name}]") from error
    if not value.is_finite() or len(value.as_tuple().digits) > 15:
        message = "The value has too many digits."
        raise StripeError(message, "meter_event_value_too_many_digits", f"payload[{name}]")
    return value


def _customer_of(meter: StripeObject, payload: dict[str, str]) -> str:
    name = meter["customer_mapping"]["event_payload_key"]
    if not payload.get(name):
        message = f"The payload must have the key '{name}'."
        raise StripeError(message, "meter_event_no_customer_defined", f"payload[{name}]")
    return payload[name]


def _check_unique(store: Store, identifier: str, now: int) -> None:
    known = store.identifiers.get(identifier)
    if known and known["received"] > now - _UNIQUE_FOR:
        message = f"An event already exists with identifier {identifier}."
        raise StripeError(message, "duplicate_meter_event", "identifier")
    if len(store.identifiers) >= _MAX_EVENTS:
        raise StripeError("The Stripe sandbox holds no more meter events.", status=507, type="api_error")


def _report_unknown_customer(store: Store, meter: StripeObject, identifier: str) -> None:
    """Stripe finds out later that it does not know the customer, and says so in an event."""
    data = _report("meter_event_customer_not_found", identifier)
    kind = "v1.billing.meter.error_report_triggered"
    store.announce(store.insert(thin_event(store, kind, KIND, meter["id"], data)))


def _report(code: str, identifier: str) -> StripeObject:
    sample = {"error_message": f"Meter event refused: {code}", "request": {"identifier": identifier}}
    error = {"code": code, "error_count": 1, "sample_errors": [sample]}
    return {
        "developer_message_summary": "There is 1 invalid event",
        "reason": {"error_count": 1, "error_types": [error]},
    }


def create_event(store: Store, params: Params) -> StripeObject:
    """Count an event of API v1."""
    timestamp = params.get("timestamp", store.now())
    identifier, received = _record(store, params, timestamp)
    return {
        "object": "billing.meter_event",
        "created": received,
        "event_name": params["event_name"],
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": timestamp,
    }


def create_v2_event(store: Store, params: Params) -> StripeObject:
    """Count an event of API v2."""
    timestamp = _v2_timestamp(store, params)
    identifier, received = _record(store, params, timestamp)
    return {
        "object": "v2.billing.meter_event",
        "created": iso(received),
        "event_name": params["event_name"],
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": iso(timestamp),
    }


def _v2_timestamp(store: Store, params: Params) -> int:
    if "timestamp" not in params:
        return store.now()
    try:
        return int(datetime.fromisoformat(params["timestamp"]).timestamp())
    except ValueError as error:
        raise StripeError("The timestamp is not in ISO 8601.", param="timestamp") from error


def create_session(store: Store, _: Params) -> StripeObject:
    """Return a token for the stream of events."""
    session: StripeObject = {
        "id": new_id("mes_test"),
        "object": "v2.billing.meter_event_session",
        "_expires": store.now() + _SESSION_LIFETIME,
        "authentication_token": new_id("token", 32),
        "created": iso(store.now()),
        "expires_at": iso(store.now() + _SESSION_LIFETIME),
        "livemode": False,
    }
    return store.insert(session)


def check_session(store: Store, token: str) -> None:
    """Accept the token of a session that has not expired; raises StripeError."""
    sessions = store.where("v2.billing.meter_event_session", authentication_token=token)
    if not sessions or sessions[0]["_expires"] <= store.now():
        message = "The temporary session token has expired."
        raise StripeError(message, "billing_meter_event_session_expired", type="temporary_session_expired")


def create_stream(store: Store, params: Params) -> StripeObject:
    """Count up to 100 events; as at Stripe, those that are wrong are only reported."""
    if not 1 <= len(params["events"]) <= _MAX_STREAM:
        raise StripeError(f"A request has 1 to {_MAX_STREAM} events.", param="events")
    for event in params["events"]:
        try:
            _record(store, event, _v2_timestamp(store, event))
        except StripeError as error:
            data = _report(error.code or "invalid", event.get("identifier", ""))
            meters = store.where(KIND, event_name=event["event_name"])
            if meters:
                kind = "v1.billing.meter.error_report_triggered"
                store.announce(store.insert(thin_event(store, kind, KIND, meters[0]["id"], data)))
    return {}


_V2 = "v2.billing.meter_event"
OPERATIONS = [
    Operation("POST", "/v1/billing/meter_events", create_event, "billing.meter_event_create"),
    Operation("POST", "/v2/billing/meter_events", create_v2_event, f"{_V2}_create"),
    Operation("POST", "/v2/billing/meter_event_session", create_session, f"{_V2}_session_create"),
    Operation("POST", "/v2/billing/meter_event_stream", create_stream, f"{_V2}_stream_create"),
]

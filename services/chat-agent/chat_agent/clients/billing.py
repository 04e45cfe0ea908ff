"""The client of billing: reserves what a run may use, and settles it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, JsonValue
from servicekit.auth.end_users import application_of
from servicekit.http.client import DependencyUnavailable, HttpResponse
from servicekit.http.service_tokens import ServiceClient

from chat_agent.errors import BillingUnavailable, QuotaExceeded, QuotaExceededToday

SCOPE = "billing:reserve"
API_KEY_SUBJECT = "service:ak."
DAY_SECONDS = 86_400
REFUSALS = frozenset({HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.TOO_MANY_REQUESTS})

# A number as billing writes it, exact.
Amount = Annotated[str, BeforeValidator(str)]


class ExceededQuota(BaseModel):
    """The limit that refuses something: what, how much, and until when."""

    feature: str
    scope: str
    limit: Amount
    used: Amount
    reserved: Amount
    requested: Amount
    resets_at: AwareDatetime
    upgrade_url: str | None = None

    @property
    def reset_text(self) -> str:
        """When the limit resets, in UTC."""
        return time_text(self.resets_at)

    @property
    def seconds_left(self) -> float:
        """In how many seconds the limit resets."""
        return max((self.resets_at - datetime.now(UTC)).total_seconds(), 1)


class QuotaWarning(BaseModel):
    """A soft limit that is exceeded."""

    feature: str
    scope: str
    used: Amount
    limit: Amount
    resets_at: AwareDatetime

    def header(self) -> str:
        """Return the warning as an item of the header `X-Quota-Warning`."""
        amounts = f'used="{self.used}";limit="{self.limit}"'
        return f'{self.feature};scope="{self.scope}";{amounts};resets_at="{time_text(self.resets_at)}"'


class ReservedCall(BaseModel):
    """Billing's answer to a reservation."""

    warnings: list[QuotaWarning]


class RequestLimits(BaseModel):
    """How large one request may be by the plan of its tenant; none where the plan does not say."""

    message_characters: int | None = None
    attachment_bytes: int | None = None


class TenantLimits(BaseModel):
    """Billing's answer about a tenant's limits."""

    has_limits: bool
    requests: RequestLimits = RequestLimits()


class RunRef(NamedTuple):
    """A run, and whose limits it has to keep."""

    tenant_id: UUID
    id: UUID
    user_id: str
    agent: str

    @property
    def api_key_id(self) -> str | None:
        """The id of the API key that started the run, if one did."""
        subject = application_of(self.user_id)
        hexadecimal = subject.removeprefix(API_KEY_SUBJECT)
        return str(UUID(hexadecimal)) if hexadecimal != subject else None


@dataclass(frozen=True)
class BillingClient:
    """Reservations of runs at billing; every call is idempotent."""

    client: ServiceClient
    timeout_seconds: float

    async def limits_of(self, tenant_id: UUID) -> TenantLimits:
        """Return whether runs of a tenant need reservations, and its plan; raises BillingUnavailable."""
        path = f"/tenants/{tenant_id}/limits"
        answer = await self._request("GET", path, (tenant_id, "service:chat-agent"))
        return TenantLimits.model_validate_json(successful(answer).body)

    async def reserve(
        self, run: RunRef, call: str, model: str, *, is_own_key: bool = False, **amounts: int
    ) -> list[QuotaWarning]:
        """Reserve what a call may use; return the soft limits that it exceeds.

        With a key of the tenant's own it costs nothing.

        Raises QuotaExceeded, BillingUnavailable.
        """
        request: dict[str, JsonValue] = {
            "user_id": run.user_id,
            "api_key_id": run.api_key_id,
            "agent": run.agent,
            "model": model,
            "messages": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            **amounts,
        }
        if is_own_key:
            request["own_key"] = True
        answer = await self._request("PUT", call_path(run, call), (run.tenant_id, run.user_id), request)
        return ReservedCall.model_validate_json(successful(answer).body).warnings

    async def settle(self, run: RunRef, call: str, **amounts: int) -> None:
        """Replace what was reserved with what was used; of a run that is recorded nothing is left to settle.

        Raises BillingUnavailable.
        """
        path = f"{call_path(run, call)}/settle"
        answer = await self._request("POST", path, (run.tenant_id, run.user_id), {**amounts})
        if answer.status != HTTPStatus.NOT_FOUND:
            successful(answer)

    async def _request(
        self, method: str, path: str, on_behalf_of: tuple[UUID, str], json: JsonValue = None
    ) -> HttpResponse:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self.client.request(method, path, on_behalf_of=on_behalf_of, json=json)
        except (DependencyUnavailable, TimeoutError) as error:
            raise BillingUnavailable from error


def time_text(time: datetime) -> str:
    """Return a time in UTC (RFC 3339)."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def call_path(run: RunRef, call: str) -> str:
    """Return the path of a call's reservation."""
    return f"/tenants/{run.tenant_id}/reservations/{run.id}/calls/{call}"


def successful(answer: HttpResponse) -> HttpResponse:
    """Return an answer unless it refuses; raises QuotaExceeded, BillingUnavailable."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return answer
    problem = answer.json() if answer.status in REFUSALS else None
    if isinstance(problem, dict) and problem.get("code") == QuotaExceeded.code():
        raise quota_exceeded(problem)
    raise BillingUnavailable(f"The billing service answered {answer.status}.")


def quota_exceeded(members: Mapping[str, JsonValue]) -> QuotaExceeded:
    """Return the error for an exceeded limit; 429 when it resets within a day."""
    quota = ExceededQuota.model_validate(members)
    seconds = quota.seconds_left
    detail = (
        f"The limit of {quota.limit} {quota.feature} (scope: {quota.scope}) is reached: {quota.used} used, "
        f"{quota.reserved} reserved, {quota.requested} requested. It resets at {quota.reset_text}."
    )
    error = QuotaExceededToday if seconds <= DAY_SECONDS else QuotaExceeded
    return error(
        detail,
        retry_after=seconds if seconds <= DAY_SECONDS else None,
        **quota.model_dump(mode="json"),
    )

"""The clients: a person who has signed in at the gateway, and one run as a client streams it."""

import asyncio
import random
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx
from starter_cli.events import TERMINAL, RunEvent, read_async
from starter_cli.owner import Owner

from scripts.chaos.kinds import Kind

# A comment comes every five seconds.
TIMEOUT = httpx.Timeout(40, connect=5)
# No more than so many connections are kept for the next request; streams are not counted.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
RETRY_SECONDS = 45
BACKOFF_SECONDS = (0.25, 3.0)


class Client(AbstractAsyncContextManager["Client"]):
    """Somebody at the gateway, who signs in again when that is asked for."""

    def __init__(self, url: str, owner: Owner) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=LIMITS, trust_env=False)
        self.tenant_id = ""
        self._owner = owner
        self._signing_in = asyncio.Lock()
        self._signed_in_at = 0.0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def sign_in(self) -> None:
        """Get an access token, unless somebody has just done so, and use it from now on."""
        async with self._signing_in:
            if time.monotonic() - self._signed_in_at < 10 and self.tenant_id:
                return
            body = {"email": self._owner.email, "password": self._owner.password}
            answer = await self.http.post("/api/v1/auth/token", json=body)
            answer.raise_for_status()
            session = answer.json()
            self.http.headers["Authorization"] = f"Bearer {session['access_token']}"
            self.tenant_id, self._signed_in_at = session["tenant_id"], time.monotonic()

    async def get(self, path: str, **params: Any) -> httpx.Response:
        """Read, again and again while a part is away; raises httpx.HTTPError."""
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                answer = await self.http.get(path, params=params)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    await self.sign_in()
                elif not answer.is_server_error:
                    return answer.raise_for_status()
                answer.raise_for_status()
            except httpx.HTTPError as error:
                lasting = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in {
                    400,
                    404,
                    410,
                }
                if lasting or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(1)

    async def get_all(self, path: str) -> list[dict[str, Any]]:
        """Read all pages of a list."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await self.get(path, limit=100, **cursor)).json()
            items += page["items"]
            if not page["next_cursor"]:
                return items
            cursor = {"cursor": page["next_cursor"]}


class RunClient:
    """One client that starts a run and streams it to its end, reconnecting as an EventSource does."""

    def __init__(self, client: Client, message: str, kind: Kind, mark: str) -> None:
        self.message = message
        self.kind = kind
        self.mark = mark
        self.began_at = 0.0
        self.run_id = ""
        self.events: list[RunEvent] = []
        self.connections = self.breaks = 0
        self.refusals: Counter[str] = Counter()
        self.gave_up = ""
        self._client = client
        self._key = uuid4().hex

    @property
    def has_ended(self) -> bool:
        """Whether the end was received."""
        return bool(self.events) and self.events[-1].type in TERMINAL

    async def stream_until_end(self) -> None:
        """Stream the run, reconnecting whenever a connection breaks; give up where that cannot help."""
        self.began_at = time.monotonic()
        idle = 0
        while not (self.has_ended or self.gave_up):
            before = len(self.events)
            await self._connect()
            idle = 0 if len(self.events) > before else idle + 1
            if not self.has_ended:
                shortest, longest = BACKOFF_SECONDS
                await asyncio.sleep(random.uniform(0.5, 1) * min(shortest * 2**idle, longest))  # noqa: S311  # jitter

    async def _connect(self) -> None:
        try:
            async with self._request() as answer:
                await self._handle(answer)
        except httpx.HTTPError:
            self.breaks += 1

    def _request(self) -> AbstractAsyncContextManager[httpx.Response]:
        http = self._client.http
        if not self.run_id:
            body = {"message": self.message, "agent_type": self.kind.agent}
            key = {"Idempotency-Key": self._key}
            return http.stream("POST", "/api/v1/chat/stream", json=body, headers=key)
        headers = {"Last-Event-ID": self.events[-1].id} if self.events else {}
        return http.stream("GET", f"/api/v1/runs/{self.run_id}/events", headers=headers)

    async def _handle(self, answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.OK:
            await self._read_events(answer)
        elif answer.status_code == httpx.codes.UNAUTHORIZED:
            await self._client.sign_in()
        else:
            self._record_refusal(answer.status_code, await answer.aread())

    async def _read_events(self, answer: httpx.Response) -> None:
        self.connections += 1
        self.run_id = answer.headers.get("Acme-Run-Id", self.run_id)
        async for event in read_async(answer):
            self.events.append(event)
            self.run_id = event.data["run_id"]
        if not self.has_ended:
            self.breaks += 1

    def _record_refusal(self, status: int, body: bytes) -> None:
        why = f"{status} {error_code(body)}".strip()
        if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
            self.refusals[why] += 1
        else:
            self.gave_up = why


def error_code(body: bytes) -> str:
    """Return the code of a problem, if it is one."""
    try:
        return str(httpx.Response(200, content=body).json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""

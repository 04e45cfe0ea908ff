"""One request to send mail: validated, counted, and answered once per idempotency key."""

import asyncio
from collections.abc import Callable

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import JsonValue, ValidationError

from sandbox.inbox_store import Attempt, Fault, InboxStore, Mail, fingerprint
from sandbox.messages import Json

_NAMES = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    422: "validation_error",
    429: "rate_limit_exceeded",
}
_MAX_BATCH = 100


class ResendError(Exception):
    """An error in Resend's shape (https://resend.com/docs/api-reference/errors)."""

    def __init__(
        self, status: int, message: str, *, name: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after
        self.name = name or _NAMES.get(status, "application_error")

    def response(self) -> Response:
        """Write it down."""
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        body = {"statusCode": self.status, "name": self.name, "message": self.message}
        return JSONResponse(body, self.status, headers)


class SendRequest:
    """One request to send: what it wants, and how it is answered at most once."""

    def __init__(self, request: Request, box: InboxStore, body: JsonValue) -> None:
        self._box = box
        self._body = body
        self._key = request.headers.get("Idempotency-Key")
        self._path = request.url.path
        self._is_permissive = request.headers.get("x-batch-validation") == "permissive"

    async def send(self) -> Json:
        """Accept a mail."""
        return await self._respond(lambda: {"id": self._store(_parse_mail(self._body))})

    async def send_batch(self) -> Json:
        """Accept up to 100 mails."""
        return await self._respond(self._send_all)

    async def _respond(self, send: Callable[[], Json]) -> Json:
        """Send, or say again what was said to the same key; faults come first, and all is counted."""
        attempt = Attempt(at=self._box.now(), path=self._path, idempotency_key=self._key, status=200)
        self._box.attempts.append(attempt)
        try:
            fault = self._box.next_fault()
            if fault is not None and not fault.accepted:
                await _raise_fault(fault)
            answer = self._send_once(send)
            attempt.ids = _sent_ids(answer)
            if fault is not None:
                await _raise_fault(fault)
        except ResendError as error:
            attempt.status = error.status
            raise
        return answer

    def _send_once(self, send: Callable[[], Json]) -> Json:
        if self._key is None:
            return send()
        if not 1 <= len(self._key) <= 256:
            raise ResendError(400, "A key has 1 to 256 characters.", name="invalid_idempotency_key")
        cached = self._box.get_cached_response(self._path, self._key)
        if cached is None:
            answer = send()
            self._box.cache_response(self._path, self._key, self._body, answer)
            return answer
        if cached.fingerprint != fingerprint(self._body):
            message = "This idempotency key was used with another payload."
            raise ResendError(409, message, name="invalid_idempotent_request")
        return cached.body

    def _store(self, mail: Mail) -> str:
        return self._box.store(mail, self._key)

    def _send_all(self) -> Json:
        if not isinstance(self._body, list) or not 1 <= len(self._body) <= _MAX_BATCH:
            raise ResendError(422, f"A batch is a list of 1 to {_MAX_BATCH} mails.")
        mails: list[Mail] = []
        errors: list[JsonValue] = []
        for index, body in enumerate(self._body):
            try:
                mails.append(_parse_mail(body))
            except ResendError as error:
                if not self._is_permissive:
                    raise
                errors.append({"index": index, "message": error.message})
        sent: Json = {"data": [{"id": self._store(mail)} for mail in mails]}
        return sent | ({"errors": errors} if self._is_permissive else {})


async def _raise_fault(fault: Fault) -> None:
    await asyncio.sleep(fault.delay)
    hint = fault.retry_after if fault.status in {429, 503} else None
    raise ResendError(fault.status, "The sandbox was asked to fail.", name=fault.name, retry_after=hint)


def _sent_ids(answer: Json) -> list[str]:
    sent = answer.get("data", [answer])
    return [str(one["id"]) for one in sent if isinstance(one, dict)] if isinstance(sent, list) else []


def _parse_mail(body: JsonValue) -> Mail:
    try:
        mail = Mail.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "body"
        if first["type"] == "missing":
            raise ResendError(422, f"Missing `{field}` field.", name="missing_required_field") from error
        raise ResendError(422, f"Invalid `{field}` field: {first['msg']}") from error
    if mail.html is None and mail.text is None:
        raise ResendError(422, "Missing `html` or `text` field.", name="missing_required_field")
    return mail

"""The mails that were accepted, the attempts that were made, and the faults still to come."""

import json
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import uuid4

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from sandbox.messages import Json

_DAY = 24 * 60 * 60
_MAX_MAILS = 2_000
_MAX_ATTEMPTS = 20_000
_TEST_ADDRESSES = {"bounced@resend.dev": "bounced", "complained@resend.dev": "complained"}


def bare_address(address: str) -> str:
    """Return the address in `Name <address>`, in lower case."""
    return address.rpartition("<")[2].removesuffix(">").strip().lower()


def _validate_address(value: str) -> str:
    name, at, domain = bare_address(value).rpartition("@")
    if not (at and name and "." in domain.strip(".")) or " " in bare_address(value):
        raise ValueError("an address is written email@example.com or Name <email@example.com>")
    return value


def _as_list(value: JsonValue) -> JsonValue:
    return [value] if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_validate_address)]
Addresses = Annotated[list[Address], BeforeValidator(_as_list), Field(max_length=50)]


class Mail(BaseModel):
    """A mail as it is posted to /emails (https://resend.com/docs/api-reference/emails/send-email)."""

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    from_: Address = Field(alias="from")
    to: Addresses = Field(min_length=1)
    subject: str
    html: str | None = None
    text: str | None = None
    cc: Addresses = []
    bcc: Addresses = []
    reply_to: Addresses = Field(default=[], validation_alias=AliasChoices("reply_to", "replyTo"))
    headers: dict[str, str] = {}
    tags: list[dict[str, str]] = []
    attachments: list[Json] = []
    scheduled_at: str | None = None


class StoredMail(Mail):
    """A mail that was accepted."""

    id: str
    created_at: str
    message_id: str
    idempotency_key: str | None = None

    @property
    def recipients(self) -> set[str]:
        """Everybody it goes to, as bare addresses."""
        return {bare_address(address) for address in (*self.to, *self.cc, *self.bcc)}

    @property
    def last_event(self) -> str:
        """What became of it; Resend's own test addresses decide otherwise than delivered."""
        return next((_TEST_ADDRESSES[one] for one in self.recipients if one in _TEST_ADDRESSES), "delivered")


class Attempt(BaseModel):
    """One request to send, whatever came of it. `ids` are the mails that it sent or had sent before."""

    at: str
    path: str
    idempotency_key: str | None
    status: int
    ids: list[str] = []


class Fault(BaseModel):
    """An error for the next `count` requests; with `accepted` the mail is taken, only the answer is lost."""

    status: int = Field(ge=400, le=599)
    count: int = Field(default=1, ge=1, le=1_000_000)
    name: str | None = None
    delay: float = Field(default=0, ge=0, le=600)
    retry_after: float = Field(default=1, ge=0)
    accepted: bool = False


class CachedResponse(NamedTuple):
    """What was answered to an idempotency key."""

    at: float
    fingerprint: str
    body: Json


def fingerprint(body: JsonValue) -> str:
    """Digest a body so that the same body has the same digest."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class InboxStore:
    """All of it in memory, within bounds; the mails also in a file, if one is given."""

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=_MAX_ATTEMPTS)
        self.faults: deque[Fault] = deque()
        self._mails: dict[str, StoredMail] = {}
        self._cached_responses: dict[tuple[str, str], CachedResponse] = {}
        self._file = file
        self._clock = clock
        if file is not None and file.exists():
            # Of bytes, since the lines of a text also end within mails, at U+2028 and its like.
            lines = file.read_bytes().splitlines()[-_MAX_MAILS:]
            self._mails = {mail.id: mail for mail in map(StoredMail.model_validate_json, lines)}

    def now(self) -> str:
        """Return the time as ISO 8601 in UTC."""
        return datetime.fromtimestamp(self._clock(), UTC).isoformat()

    def store(self, mail: Mail, key: str | None) -> str:
        """Accept a mail and return its id."""
        mail_id = str(uuid4())
        more = {
            "id": mail_id,
            "created_at": self.now(),
            "message_id": f"<{mail_id}@sandbox>",
            "idempotency_key": key,
        }
        stored = StoredMail.model_validate(mail.model_dump() | more)
        self._mails[mail_id] = stored
        if len(self._mails) > _MAX_MAILS:
            del self._mails[next(iter(self._mails))]
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(stored.model_dump_json() + "\n")
        return mail_id

    def get(self, mail_id: str) -> StoredMail | None:
        """Return a mail, if there is one."""
        return self._mails.get(mail_id)

    def inbox(self, to: str | None = None) -> list[StoredMail]:
        """List the mails, oldest first; those to one address, or all."""
        return [mail for mail in self._mails.values() if to is None or bare_address(to) in mail.recipients]

    def clear(self) -> None:
        """Delete mails, attempts, idempotency keys and faults."""
        for store in (self._mails, self._cached_responses, self.attempts, self.faults):
            store.clear()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def get_cached_response(self, path: str, key: str) -> CachedResponse | None:
        """Return the response to an idempotency key within a day, if there was one."""
        yesterday = self._clock() - _DAY
        self._cached_responses = {
            place: one for place, one in self._cached_responses.items() if one.at > yesterday
        }
        return self._cached_responses.get((path, key))

    def cache_response(self, path: str, key: str, body: JsonValue, answer: Json) -> None:
        """Remember what is answered to an idempotency key."""
        self._cached_responses[path, key] = CachedResponse(self._clock(), fingerprint(body), answer)

    def next_fault(self) -> Fault | None:
        """Return the next fault that is due, and count it."""
        if not self.faults:
            return None
        fault = self.faults[0]
        fault.count -= 1
        if fault.count == 0:
            self.faults.popleft()
        return fault

    def attempts_for(self, mail: StoredMail) -> int:
        """Count how often a mail was posted: replays and failures with its key included."""
        return sum(
            mail.id in attempt.ids
            or (mail.idempotency_key is not None and attempt.idempotency_key == mail.idempotency_key)
            for attempt in self.attempts
        )

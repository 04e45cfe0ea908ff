"""Idempotency keys: the same request again gets the same answer again, whatever it was."""

import json
from dataclasses import dataclass, field
from hashlib import sha256

from sandbox.stripe.errors import StripeError
from sandbox.stripe.objects import Params, StripeObject

_LIFETIME = 24 * 3600
_MAX_KEYS = 50_000
_MAX_LENGTH = 255


@dataclass
class StoredAnswer:
    """The first answer to a key."""

    digest: str
    status: int
    body: StripeObject
    created: int


@dataclass
class IdempotencyKeys:
    """The answers by key, and the keys whose first request is still running."""

    answers: dict[str, StoredAnswer] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def find(self, key: str, digest: str, now: int) -> StoredAnswer | None:
        """Return the stored answer; raises StripeError if the key is in use or was used otherwise."""
        if len(key) > _MAX_LENGTH:
            message = f"Idempotency keys can have up to {_MAX_LENGTH} characters."
            raise StripeError(message, type="idempotency_error", status=400)
        if key in self.running:
            message = "There is currently another in-progress request using this Idempotent Key."
            raise StripeError(message, "idempotency_key_in_use", type="idempotency_error", status=409)
        answer = self.answers.get(key)
        if answer is None or answer.created <= now - _LIFETIME:
            return None
        if answer.digest != digest:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with. Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise StripeError(message, type="idempotency_error", status=400)
        return answer

    def store(self, key: str, answer: StoredAnswer) -> None:
        """Store the answer to a key; the oldest keys make room."""
        self.answers.pop(key, None)
        self.answers[key] = answer
        if len(self.answers) > _MAX_KEYS:
            del self.answers[next(iter(self.answers))]


def digest(method: str, path: str, params: Params) -> str:
    """Return what identifies a request apart from its key."""
    return sha256(json.dumps([method, path, params], sort_keys=True).encode()).hexdigest()

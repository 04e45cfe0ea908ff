"""The log probabilities of tokens, as events have them."""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

Json = dict[str, Any]


def logprobs_of(delta: Any) -> list[Json]:
    """Return what a delta of the SDK says of its tokens; what cannot be read is left out."""
    return [
        {**chosen, "top_logprobs": [*readable(getattr(one, "top_logprobs", None))]}
        for one in getattr(delta, "logprobs", None) or ()
        for chosen in readable([one])
    ]


def readable(logprobs: Iterable[Any] | None) -> Iterator[Json]:
    """Yield tokens with their log probabilities."""
    for one in logprobs or ():
        token, logprob = getattr(one, "token", None), getattr(one, "logprob", None)
        if isinstance(token, str) and isinstance(logprob, int | float) and isfinite(logprob):
            encoded = token.encode(errors="replace")
            yield {"token": encoded.decode(), "logprob": logprob, "bytes": [*encoded]}

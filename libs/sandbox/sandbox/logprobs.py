"""The log probabilities that the model gives of its tokens: invented, and the same each time."""

from collections.abc import Iterable

from pydantic import JsonValue

from sandbox.messages import Json


def logprobs_of(tokens: Iterable[str], top: int | None) -> list[JsonValue]:
    """Return each token's log probability with those of `top` alternatives; nothing without `top`."""
    if top is None:
        return []
    return [{**_logprob(token, 0), "top_logprobs": _alternatives(token, top)} for token in tokens]


def _alternatives(token: str, top: int) -> list[JsonValue]:
    return [_logprob(f"{token}{rank or ''}", rank) for rank in range(top)]


def _logprob(token: str, rank: int) -> Json:
    return {"token": token, "logprob": -0.5 - rank, "bytes": [*token.encode()]}

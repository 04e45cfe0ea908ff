"""The events of OpenAI's Responses, from what another provider says."""

from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

from chat_agent.model.json import Json

Kind = Literal["message", "refusal", "reasoning", "function_call"]
PREFIXES = {"message": "msg", "refusal": "msg", "reasoning": "rs", "function_call": "fc"}
DELTAS = {
    "message": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "reasoning": "response.reasoning_summary_text.delta",
    "function_call": "response.function_call_arguments.delta",
}


class ResponseWriter:
    """One response, whose items are written one after the other."""

    def __init__(self, model: str) -> None:
        self.items: list[Json] = []
        self._response: Json = {"id": f"resp_{uuid4().hex}", "object": "response", "model": model}
        self._number = -1
        self._kind: Kind | None = None
        self._place: Json = {}
        self._pieces: list[str] = []

    def start(self) -> Json:
        """Return the first event."""
        return self._event("response.created", response=self._response_in("in_progress"))

    def write(self, kind: Kind, delta: str) -> Iterator[Json]:
        """Append to the item that is open, or to a new one of this kind."""
        if not delta:
            return
        if self._kind != kind:
            yield from self.open(kind)
        self._pieces.append(delta)
        yield self._event(DELTAS[kind], delta=delta, **self._place)

    def open(self, kind: Kind, **fields: str) -> Iterator[Json]:
        """Begin an item; one that is open ends."""
        yield from self.close()
        self._kind, self._pieces = kind, []
        item: Json = {
            "type": "message" if kind == "refusal" else kind,
            "id": f"{PREFIXES[kind]}_{uuid4().hex}",
            "status": "in_progress",
            **fields,
        }
        item |= content_of(kind, None)
        place = {"item_id": item["id"], "output_index": len(self.items)}
        self.items.append(item)
        yield self._event("response.output_item.added", item=item, output_index=place["output_index"])
        match kind:
            case "reasoning":
                self._place = {**place, "summary_index": 0}
            case "function_call":
                self._place = place
            case "message":
                self._place = {**place, "content_index": 0, "logprobs": []}
            case "refusal":
                self._place = {**place, "content_index": 0}

    def close(self, **fields: str) -> Iterator[Json]:
        """End the item that is open."""
        if self._kind is None:
            return
        text, kind, self._kind = "".join(self._pieces), self._kind, None
        self.items[-1] = {**self.items[-1], **content_of(kind, text), "status": "completed", **fields}
        yield self._event("response.output_item.done", item=self.items[-1], output_index=len(self.items) - 1)

    def sign(self, encrypted_content: str) -> Iterator[Json]:
        """End the reasoning that is open, or write one without a text, with what its provider reads again."""
        if self._kind != "reasoning":
            yield from self.open("reasoning")
        yield from self.close(encrypted_content=encrypted_content)

    def sign_last(self, encrypted_content: str) -> Iterator[Json]:
        """End the item that is open; in the response, what is signed here stands before it."""
        yield from self.close()
        yield from self.sign(encrypted_content)
        self.items[-2:] = reversed(self.items[-2:])

    def finish(self, usage: Json | None, *, is_truncated: bool) -> Iterator[Json]:
        """End the response; truncated is one that ends at a limit of tokens."""
        yield from self.close()
        status = "incomplete" if is_truncated else "completed"
        details = {"reason": "max_output_tokens"} if is_truncated else None
        response = self._response_in(status, output=self.items, usage=usage, incomplete_details=details)
        yield self._event(f"response.{status}", response=response)

    def _response_in(self, status: str, **fields: object) -> Json:
        return {**self._response, "status": status, "output": [], "tools": [], **fields}

    def _event(self, kind: str, **fields: object) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}


def content_of(kind: Kind, text: str | None) -> Json:
    """Return the members of an item that hold its text; none is that of an item that begins."""
    match kind:
        case "message":
            part: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            return {"role": "assistant", "content": [] if text is None else [part]}
        case "refusal":
            return {
                "role": "assistant",
                "content": [] if text is None else [{"type": "refusal", "refusal": text}],
            }
        case "reasoning":
            return {"summary": [{"type": "summary_text", "text": text}] if text else []}
        case "function_call":
            return {"arguments": text or ""}


def usage_of(  # the counts that providers tell apart
    *, fresh: int, cached: int, cache_write: int, output: int, reasoning: int
) -> Json:
    """Return usage as Responses say it: input includes what was read from a cache, or written to one."""
    input_tokens = fresh + cached + cache_write
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": cache_write},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output,
    }

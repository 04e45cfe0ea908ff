"""Faults and sizes on demand: `[sandbox: delay=2s, tokens=200]` inside what the person writes."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

_BRACKET = re.compile(r"\[sandbox:([^\]]*)\]", re.IGNORECASE)


def _without_unit(value: JsonValue) -> JsonValue:
    return value.removesuffix("/s").removesuffix("s") if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_without_unit), Field(ge=0)]


class Directives(BaseModel):
    """What is asked of the sandbox; the table in the README says what each does."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    delay: Number = 0
    rate: Number | None = None
    tokens: Annotated[int, Field(ge=0, le=100_000)] | None = None
    error: Annotated[str, Field(pattern=r"^[45]\d\d(x\d+)?$")] | None = None
    retry_after: Number = 1
    die_after: Annotated[int, Field(ge=0)] | None = None
    fail_after: Annotated[int, Field(ge=0)] | None = None
    stall_after: Annotated[int, Field(ge=0)] | None = None
    pause_after: Annotated[int, Field(ge=0)] | None = None
    invalid_utf8: bool = False
    malformed_arguments: bool = False
    malformed_output: bool = False
    invent: str | None = None
    refuse: bool = False
    reasoning: bool = False
    loop: bool = False
    redacted: bool = False
    unknown_event: bool = False
    blocked: bool = False
    call: tuple[str, ...] = ()

    def fault(self, attempt: int) -> int | None:
        """Name the HTTP status to fail with at this attempt (0 is the first): `500x2` fails twice."""
        if self.error is None:
            return None
        status, _, times = self.error.partition("x")
        return int(status) if not times or attempt < int(times) else None


def parse(text: str, model: str) -> Directives:
    """Read the directives of a text; ValueError names one that does not exist.

    A bracket with `only=NAME` is for the model of that name alone.
    """
    values: dict[str, JsonValue] = {}
    for bracket in _BRACKET.findall(text):
        pairs = [_pair(part) for part in bracket.split(",") if part.strip()]
        if ("only", model) in pairs or "only" not in dict(pairs):
            calls = [value for name, value in pairs if name == "call"]
            values |= {name: value for name, value in pairs if name != "only"}
            values |= {"call": calls} if calls else {}
    return Directives.model_validate(values)


def _pair(part: str) -> tuple[str, JsonValue]:
    name, sign, value = part.partition("=")
    return name.strip().lower(), value.strip() if sign else True


def strip(text: str) -> str:
    """Leave out the directives."""
    return _BRACKET.sub("", text).strip()

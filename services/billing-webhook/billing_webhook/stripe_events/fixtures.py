"""The linter of fixtures: recorded events that tests send through the webhook."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import stripe
from pydantic import ValidationError

from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.handlers import handlers_of

SECRET = re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_\w{8,}|\bwhsec_\w{8,}")
COMMON = ("id", "object", "type", "livemode", "created")
REQUIRED = {"event": (*COMMON, "api_version", "data"), "v2.core.event": COMMON}


def lint(files: Sequence[Path]) -> list[str]:
    """Return what is wrong with fixtures, one sentence for each problem."""
    problems, ids = [], dict[str, Path]()
    for file in files:
        text = file.read_text(encoding="utf-8")
        try:
            event = json.loads(text)
        except ValueError:
            problems.append(f"{file.name}: is not JSON")
            continue
        problems += [f"{file.name}: {problem}" for problem in problems_of(event, text)]
        event_id = event.get("id") if isinstance(event, dict) else None
        if isinstance(event_id, str) and (other := ids.setdefault(event_id, file)) != file:
            problems.append(f"{file.name}: has the id of {other.name}")
    return problems


def problems_of(event: Any, text: str) -> Iterator[str]:
    """Yield what is wrong with one fixture."""
    if SECRET.search(text):
        yield "contains a secret"
    if not isinstance(event, Mapping) or event.get("object") not in REQUIRED:
        yield "is not an event"
        return
    if missing := [name for name in REQUIRED[event["object"]] if name not in event]:
        yield f"lacks {', '.join(missing)}"
        return
    try:
        envelope = Envelope.model_validate_json(text)
    except ValidationError as error:
        yield f"is not an event: {', '.join('.'.join(map(str, each['loc'])) for each in error.errors())}"
        return
    if envelope.livemode:
        yield "is of live mode"
    if envelope.api_version not in {None, stripe.api_version}:
        yield f"is of API version {envelope.api_version}, not {stripe.api_version}"
    if not envelope.is_thin and not envelope.subject.kind:
        yield "lacks data.object"
    if not handlers_of(envelope.type):
        yield f"has a type without a handler: {envelope.type}"

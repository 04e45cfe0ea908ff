"""State that outlives the process: one JSON document, written whole or not at all."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.data_dirs import write_private
from sandbox.stripe.idempotency import IdempotencyKeys, StoredAnswer
from sandbox.stripe.store import Store

_FORMAT = 1


def save(path: Path, store: Store, keys: IdempotencyKeys) -> None:
    """Write everything but what is on its way: faults, and deliveries that are to be tried again."""
    document = {
        "format": _FORMAT,
        "tables": store.tables,
        "usage": store.usage,
        "offset": store.offset,
        "keys": {key: asdict(answer) for key, answer in keys.answers.items()},
    }
    write_private(path, json.dumps(document))


def load(path: Path, store: Store, keys: IdempotencyKeys) -> None:
    """Read what was saved, if there is anything."""
    if not path.exists():
        return
    document: dict[str, Any] = json.loads(path.read_text())
    if document["format"] != _FORMAT:
        raise ValueError(f"{path} was written by another version of the sandbox; delete it")
    store.tables = document["tables"]
    store.usage = document["usage"]
    store.offset = document["offset"]
    keys.answers = {key: StoredAnswer(**answer) for key, answer in document["keys"].items()}
    store.identifiers = {
        event["identifier"]: event
        for customers in store.usage.values()
        for events in customers.values()
        for event in events
    }
    _share_prices(store)


def _share_prices(store: Store) -> None:
    """Make items refer to the stored prices and features again, of which the document has copies."""
    for subscription in store.table("subscription").values():
        for item in subscription["items"]["data"]:
            item["price"] = store.table("price")[item["price"]["id"]]
    for attached in store.table("product_feature").values():
        feature = attached["entitlement_feature"]
        attached["entitlement_feature"] = store.table("entitlements.feature")[feature["id"]]

"""That the runbook forgets no secret."""

import re
from pathlib import Path

import pytest
from testkit.contract_documents import module, services

ROOT = Path(__file__).resolve().parents[3]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
# Of which losing one means losing what is kept by it, or signing everybody out: they have a value before.
KEEPS = re.compile(r"_(pepper|encryption_key|sealing_key|ip_hash_salt)$")


def secrets_of(service: str) -> dict[str, str]:
    """Return a service's secrets, as its settings declare them: field and variable."""
    fields = module(service, "settings").Settings.model_fields.items()
    return {
        name: name.upper()
        for name, field in fields
        if re.search("SecretStr|RotatingSecret", str(field.annotation))
    }


ALL = sorted({variable for service in services() for variable in secrets_of(service).values()})


@pytest.mark.parametrize("variable", ALL)
def test_the_runbook_tells_how_to_change_a_secret(variable: str) -> None:
    section = RUNBOOK.partition("## Changing secrets")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `") and f"`{variable}`" in line]
    assert len(rows) == 1, f"{variable} is in {len(rows)} rows of docs/operations.md"


def test_every_pepper_and_key_of_ours_can_have_a_value_before() -> None:
    fields = {
        name: module(service, "settings").Settings.model_fields[name].annotation
        for service in services()
        for name in secrets_of(service)
    }
    stored = {name for name in fields if KEEPS.search(name)}
    assert stored == {name for name, type_ in fields.items() if "RotatingSecret" in str(type_)}
    assert len(stored) == 8

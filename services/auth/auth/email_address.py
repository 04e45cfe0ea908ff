"""Email addresses: their normal form, and the key that makes one account of all spellings."""

import unicodedata
from typing import Annotated

from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from pydantic import AfterValidator, Field

MAX_LENGTH = 254


def parse(address: str) -> ValidatedEmail:
    """Read an address by its form alone, without asking the network; raises ValueError."""
    try:
        # A name that only a company's own network knows (.internal, .test) is an address too.
        email = validate_email(
            address, check_deliverability=False, globally_deliverable=False, test_environment=True
        )
    except EmailNotValidError:
        # Its own message quotes what was sent.
        raise ValueError("this is not an e-mail address") from None
    if "." not in email.ascii_domain:
        raise ValueError("this is not an e-mail address")
    return email


def normalize(address: str) -> str:
    """Return an address as email is sent to it: the domain in lower case, the local part unchanged."""
    return parse(address).normalized


def canonical_email(address: str) -> str:
    """Return the normal form that an account is found by.

    Tags (`ann+shop@…`) make different addresses: some providers deliver them elsewhere. Mail always goes to
    the address as its owner wrote it, never to what somebody else typed that has the same key.
    """
    parsed = parse(address)
    return f"{unicodedata.normalize('NFKC', parsed.local_part).lower()}@{parsed.ascii_domain.lower()}"


def domain_of(address: str) -> str:
    """Return the domain of an address, in its normal form."""
    return canonical_email(address).rpartition("@")[2]


def normalize_domain(text: str) -> str:
    """Return a domain in canonical form; raises ValueError."""
    try:
        return domain_of(f"somebody@{text}")
    except ValueError:
        raise ValueError("this is not a domain of addresses") from None


Domain = Annotated[
    str, Field(min_length=3, max_length=190, examples=["example.com"]), AfterValidator(normalize_domain)
]
Email = Annotated[
    str,
    Field(max_length=MAX_LENGTH, json_schema_extra={"format": "email"}, examples=["ann@example.com"]),
    AfterValidator(normalize),
]

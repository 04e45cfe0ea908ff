"""What people write is read in linear time, whatever they write."""

import auth
from auth import email_address, schemas, users
from auth.account.schemas import Profile
from auth.security import password_policy, passwords
from auth.sessions import metadata
from auth.tenants.schemas import TenantChange
from pydantic import TypeAdapter
from testkit.linear_time import Use, expressions, find_slow

PASSWORD, NAME, ADDRESS = schemas.MAX_PASSWORD, 128, email_address.MAX_LENGTH
FUNCTIONS = {
    "a password": Use(lambda text: password_policy.validate(text, ("Ann", "Bakery")), PASSWORD),
    "a password's rest": Use(lambda text: password_policy.count_uncommon(text, ()), PASSWORD),
    "names beside a password": Use(
        lambda text: password_policy.count_uncommon("four words", (text, text, text)), None
    ),
    "a password to be hashed": Use(passwords.normalize, PASSWORD),
    "a slug": Use(users.slugify, NAME),
    "a display name": Use(lambda text: Profile(display_name=text), None),
    "a name and slug": Use(lambda text: TenantChange(name=text, slug=text), None),
    "an address": Use(TypeAdapter(email_address.Email).validate_python, None),
    "the local part of an address": Use(
        lambda text: email_address.canonical_email(f"{text}@example.com"), ADDRESS - 12
    ),
    "the domain of an address": Use(email_address.normalize_domain, ADDRESS),
    "a device": Use(metadata.device_name, 512),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow(FUNCTIONS) == []


def test_every_expression_is_linear():
    found = expressions(auth)
    assert len(found) > 8
    assert find_slow(found) == []

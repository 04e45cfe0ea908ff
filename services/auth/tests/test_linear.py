"""What people write is read in linear time, whatever they write."""

import auth
from auth import accounts, addresses, password_policy, passwords, schemas, session_origin
from auth.account.schemas import Profile
from auth.tenants.schemas import TenantChange
from pydantic import TypeAdapter
from testkit.linear_time import Use, expressions, slow

PASSWORD, NAME, ADDRESS = schemas.MAX_PASSWORD, 128, addresses.MAX_LENGTH
FUNCTIONS = {
    "a password": Use(lambda text: password_policy.check(text, ("Ann", "Bakery")), PASSWORD),
    "a password's rest": Use(lambda text: password_policy.rest(text, ()), PASSWORD),
    "names beside a password": Use(lambda text: password_policy.rest("four words", (text, text, text)), None),
    "a password to be hashed": Use(passwords.normal, PASSWORD),
    "a slug": Use(accounts.slug_of, NAME),
    "a display name": Use(lambda text: Profile(display_name=text), None),
    "a name and slug": Use(lambda text: TenantChange(name=text, slug=text), None),
    "an address": Use(TypeAdapter(addresses.Email).validate_python, None),
    "the local part of an address": Use(lambda text: addresses.key_of(f"{text}@example.com"), ADDRESS - 12),
    "the domain of an address": Use(addresses.as_domain, ADDRESS),
    "a device": Use(session_origin.device_name, 512),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert slow(FUNCTIONS) == []


def test_every_expression_is_linear():
    found = expressions(auth)
    assert len(found) > 8
    assert slow(found) == []

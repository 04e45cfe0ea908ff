"""What this service hears, with only the fields that it reads."""

import re
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

# An address, a link, or something that a mail program would turn into one.
LINK = re.compile(r"[/@:\\]|\.\w")


def presentable(name: str | None) -> str | None:
    """Give a name on one line, or none where it reads like an advertisement.

    Anybody can register a stranger's address under any name; our mails must not carry such messages.
    """
    text = " ".join((name or "").split())
    return text if text and len(text) <= 80 and not LINK.search(text) else None


Name = Annotated[str | None, AfterValidator(presentable)]
MailAddress = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+$", max_length=320)]


class Verification(BaseModel):
    """The token that proves that a person reads this address; sealed for us."""

    model_config = ConfigDict(hide_input_in_errors=True)

    token: str
    expires_at: AwareDatetime


class VerificationNeeded(BaseModel):
    """`auth.user.registered.v1`, `auth.email_verification.requested.v1`: an address waits to be confirmed."""

    # What is wrong with an event ends up in logs and beside dead letters; addresses do not.
    model_config = ConfigDict(hide_input_in_errors=True)

    user_id: str
    tenant_id: UUID
    email: MailAddress
    display_name: Name = None
    tenant_name: Name = None
    verification: Verification

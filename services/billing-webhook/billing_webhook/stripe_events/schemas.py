"""Responses to Stripe."""

from pydantic import BaseModel


class Receipt(BaseModel):
    """The event is stored; `duplicate` when it already was."""

    received: bool = True
    duplicate: bool

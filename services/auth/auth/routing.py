"""What all answers that hold tokens have in common."""

from fastapi import Response


def no_store(response: Response) -> None:
    """Keep what holds tokens out of every cache (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"

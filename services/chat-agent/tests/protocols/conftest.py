"""What the tests of the protocols share: OpenAI's own client."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from openai import OpenAI

from ..client_helpers import openai_client


@pytest.fixture
def openai_of() -> Iterator[Callable[..., OpenAI]]:
    """Return a function that returns OpenAI's client for somebody, open until the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(openai_client(*args, **options))


@pytest.fixture
def client(openai_of: Callable[..., OpenAI], ann: httpx.Client) -> OpenAI:
    return openai_of(ann)

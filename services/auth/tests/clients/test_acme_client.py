"""The client library for Python gets a service account's tokens."""

import httpx
import pytest
from acme_client import ApiError, ClientCredentials, synchronous
from anyio import to_thread

from .conftest import SCOPES


async def test_gets_tokens_by_secret(service, issue, issuer):
    credential = await issue()
    account = ClientCredentials(credential["client_id"], credential["client_secret"], SCOPES[0])
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        token = await account.access_token(http, issuer)
        assert service.claims({"access_token": token})["iss"] == issuer
        assert await account.access_token(http, issuer) == token
        assert await account.access_token(http, issuer, refused=token) != token


async def test_gets_tokens_without_an_event_loop(service, issue, issuer):
    credential = await issue()
    account = synchronous.ClientCredentials(credential["client_id"], credential["client_secret"])

    def access_token():
        with httpx.Client(timeout=60, trust_env=False) as http:
            return account.access_token(http, issuer)

    assert service.claims({"access_token": await to_thread.run_sync(access_token)})["iss"] == issuer


async def test_says_that_the_secret_is_wrong(issue, issuer):
    credential = await issue()
    account = ClientCredentials(credential["client_id"], "wrong")
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        with pytest.raises(ApiError) as refusal:
            await account.access_token(http, issuer)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_client")

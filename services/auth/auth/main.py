"""auth: who you are. Accounts, tenants, tokens, and the keys that tokens are verified with."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from servicekit.app import Resources, create_service
from servicekit.request_limits import KIB
from servicekit.server import serve
from servicekit.workers.supervisor import running_all

from auth.account import routes as account
from auth.api_keys import routes as api_keys
from auth.api_keys.introspection import verify_locally
from auth.audit import routes as audit
from auth.mfa import routes as mfa
from auth.oauth import routes as oauth
from auth.registration import routes as registration
from auth.security.revocation import RevocationPublisher
from auth.security.service_account_catalogue import InvalidCatalogue
from auth.service_accounts import routes as service_accounts
from auth.services import AuthServices
from auth.sessions import operator_routes as operators
from auth.sessions import routes as sessions
from auth.settings import Settings
from auth.sign_in import routes as sign_in
from auth.signing.signing_keys import SigningKeys
from auth.tenants import invite_routes as invites
from auth.tenants import routes as tenants
from auth.worker import workers

logger = logging.getLogger(__name__)
ROUTERS = [
    sign_in.router,
    sessions.router,
    operators.router,
    registration.router,
    account.router,
    mfa.router,
    tenants.router,
    invites.router,
    audit.router,
    api_keys.router,
    service_accounts.router,
    oauth.router,
    oauth.well_known,
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the application."""
    settings = settings or Settings()
    keys = SigningKeys.from_settings(settings)
    app = create_service(
        "auth",
        settings,
        description="Who you are in Acme: accounts, tenants, sessions and their tokens.",
        routers=ROUTERS,
        internal=[oauth.internal_router, api_keys.internal_router, tenants.internal_router],
        workers=workers,
        lifespan=lambda resources: running_keys(resources, keys, settings),
        keys=keys,
        api_keys=verify_locally,
        max_body_size=16 * KIB,
    )
    app.state.services = app.state.internal.state.services = AuthServices.from_settings(
        settings, app.state.resources, keys
    )
    return app


@asynccontextmanager
async def running_keys(resources: Resources, keys: SigningKeys, settings: Settings) -> AsyncIterator[None]:
    """Provide the signing keys, and publish revocations, while the app serves requests."""
    # Also where no workers run: who revokes must see to it that it is told.
    async with aclosing(keys), running_all([RevocationPublisher(resources.database, resources.redis)]):
        await keys.start()
        if settings.auth_key_storage_path and not settings.is_development:
            # Each replica with a file of its own refuses the tokens of the others.
            logger.warning(
                "signing keys are stored in a file", extra={"needs": "storage that all replicas share"}
            )
        resources.checks["keys"] = keys.current
        yield


def main() -> None:
    """Serve the app; where the catalogue of service accounts is invalid, say so and exit."""
    try:
        app = create_app(Settings.load())
    except InvalidCatalogue as error:
        sys.exit(str(error))
    serve(app)


if __name__ == "__main__":
    main()

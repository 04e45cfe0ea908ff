"""auth: who you are. Accounts, tenants, tokens, and the keys that tokens are verified with."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from servicekit.app import Resources, create_service, serve
from servicekit.request_limits import KIB
from servicekit.workers.supervisor import running_all

from auth.account.routes import account_api
from auth.api_keys.introspection import own
from auth.api_keys.routes import api_keys_api, api_keys_internal
from auth.audit.routes import router as audit_api
from auth.mfa.routes import factors_api
from auth.registration.routes import entry_api
from auth.security.revocation import Announcer
from auth.service_accounts.routes import service_accounts_api
from auth.services import Parts
from auth.sessions.operator_routes import operator_sessions_api
from auth.settings import Settings
from auth.sign_in.routes import accounts_api, machines_api, well_known
from auth.signing.signing_keys import SigningKeys
from auth.tenants.routes import members_internal, tenants_api
from auth.worker import workers

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Put the service together."""
    settings = settings or Settings()
    keys = SigningKeys.of(settings)

    @asynccontextmanager
    async def ready_to_sign(resources: Resources) -> AsyncIterator[None]:
        # Also where no workers run: who revokes must see to it that it is told.
        async with aclosing(keys), running_all([Announcer(resources.database, resources.redis)]):
            await keys.start()
            if settings.auth_key_storage_path and not settings.is_development:
                # Each replica with a file of its own refuses the tokens of the others.
                logger.warning(
                    "signing keys are stored in a file", extra={"needs": "storage that all replicas share"}
                )
            resources.checks["keys"] = keys.current
            yield

    app = create_service(
        "auth",
        settings,
        description="Who you are in Acme: accounts, tenants, sessions and their tokens.",
        routers=[
            accounts_api,
            account_api,
            factors_api,
            tenants_api,
            entry_api,
            operator_sessions_api,
            audit_api,
            api_keys_api,
            service_accounts_api,
            well_known,
        ],
        internal=[machines_api, api_keys_internal, members_internal],
        workers=workers,
        lifespan=ready_to_sign,
        keys=keys,
        api_keys=own,
        max_body_size=16 * KIB,
    )
    app.state.parts = app.state.internal.state.parts = Parts.of(settings, app.state.resources, keys)
    return app


if __name__ == "__main__":
    serve(create_app(Settings.load()))

"""A replica of billing-webhook, as a program (see `testkit.service_process`)."""

from billing_webhook.main import create_app
from servicekit.server import serve

if __name__ == "__main__":
    serve(create_app())

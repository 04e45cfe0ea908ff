"""A replica of billing-webhook, as a program (see `testkit.service_process`)."""

import json
import os
import sys

from billing_webhook.main import create_app
from servicekit.server import serve

if __name__ == "__main__":
    os.environ.update(json.loads(sys.stdin.readline()))
    serve(create_app())

"""`python -m billing_webhook` is the operator's command."""

import sys

from billing_webhook.cli import main

sys.exit(main())

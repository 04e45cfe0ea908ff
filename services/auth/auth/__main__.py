"""`python -m auth` is the operator's command."""

import sys

from auth.cli import main

sys.exit(main())

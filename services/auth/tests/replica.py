"""A replica of auth, as a process of its own; its settings come as a line of JSON on its input."""

import json
import os
import sys

from auth.main import create_app
from servicekit.server import serve

if __name__ == "__main__":
    os.environ.update(json.loads(sys.stdin.readline()))
    serve(create_app())

"""A replica of auth, as a process of its own."""

from auth.main import create_app
from servicekit.server import serve

if __name__ == "__main__":
    serve(create_app())

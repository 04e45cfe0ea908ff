"""Sinks of logs that need a library of their own: each module is imported when the settings name it."""

from collections.abc import Callable, Sequence

Write = Callable[[Sequence[str]], None]

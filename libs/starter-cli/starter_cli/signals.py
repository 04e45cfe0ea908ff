"""Ctrl-C, and the signals that mean the same."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupt_once() -> Iterator[None]:
    """Turn the first of these signals into a KeyboardInterrupt; others do not disturb the tidying up."""
    # `nohup` ignores SIGHUP, so that what it starts outlives the terminal.
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, raise_interrupt) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    """End what is going on."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ignore_signal)
    raise KeyboardInterrupt


def ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, this is not inherited by programs that are started now."""

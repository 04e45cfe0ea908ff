"""Steps of a start: each begins as soon as those it needs are done, all others run beside it."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event


@dataclass(frozen=True)
class Happening:
    """Something that the operator may want to see: a step that began or is done, or just a sentence."""

    part: str
    address: str = ""
    seconds: float | None = None
    sentence: str = ""


Tell = Callable[[Happening], None]


@dataclass(frozen=True)
class Step:
    """One step, what it makes reachable where, and the names of the steps that it needs."""

    name: str
    run: Callable[[], None]
    address: str = ""
    needs: Sequence[str] = ()


def run_all(steps: Sequence[Step], cancelled: Event, tell: Tell) -> None:
    """Run steps, listed after those they need; the first failure, or an interrupt, cancels the others."""
    done: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(len(steps), thread_name_prefix="step") as pool:
        try:
            for step in steps:
                done[step.name] = pool.submit(
                    run_one, step, [done[need] for need in step.needs], cancelled, tell
                )
            for future in as_completed(done.values()):
                future.result()
        except BaseException:
            cancelled.set()
            raise


def run_one(step: Step, needs: Sequence[Future[None]], cancelled: Event, tell: Tell) -> None:
    """Run one step after those it needs; one of theirs that failed is its failure, too."""
    for need in needs:
        need.result()
    if cancelled.is_set():
        return
    began = time.monotonic()
    tell(Happening(step.name, step.address))
    step.run()
    tell(Happening(step.name, step.address, time.monotonic() - began))

"""Steps of a start: each begins as soon as those it needs are done, all others run beside it."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event


@dataclass(frozen=True)
class Progress:
    """Something that the operator may want to see: a step that began or is done, or just a sentence."""

    component: str
    address: str = ""
    seconds: float | None = None
    message: str = ""


Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class Step:
    """One step, what it makes reachable where, and the names of the steps that it needs."""

    name: str
    run: Callable[[], None]
    address: str = ""
    needs: Sequence[str] = ()


def run_steps(steps: Sequence[Step], cancelled: Event, on_progress: Callback) -> None:
    """Run steps, listed after those they need; the first failure, or an interrupt, cancels the others."""
    done: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(len(steps), thread_name_prefix="step") as pool:
        try:
            for step in steps:
                done[step.name] = pool.submit(
                    run_step, step, [done[need] for need in step.needs], cancelled, on_progress
                )
            for future in as_completed(done.values()):
                future.result()
        except BaseException:
            cancelled.set()
            raise


def run_step(
    step: Step, dependencies: Sequence[Future[None]], cancelled: Event, on_progress: Callback
) -> None:
    """Run one step after those it needs; one of theirs that failed is its failure, too."""
    for need in dependencies:
        need.result()
    if cancelled.is_set():
        return
    started_at = time.monotonic()
    on_progress(Progress(step.name, step.address))
    step.run()
    on_progress(Progress(step.name, step.address, time.monotonic() - started_at))

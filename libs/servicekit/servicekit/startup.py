"""Starts a process with hardly any garbage collection: what imports and `create_app` make is no garbage.

The collector would look through a growing heap 700 times meanwhile: a tenth of what the start costs.
"""

import gc

THRESHOLDS = gc.get_threshold()
# Not off: a process that imports a service and does not `serve` it still collects now and then.
gc.set_threshold(50_000)


def resume_collection() -> None:
    """Collect garbage as often as before."""
    gc.set_threshold(*THRESHOLDS)

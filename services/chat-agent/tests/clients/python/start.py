"""Run a script or a command without what takes a third of its time: garbage collection, and clearing up."""

import gc
import os
import runpy
import sys

gc.disable()
del sys.argv[0]
status = 0
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code or 0
sys.stdout.flush()
os._exit(int(status))

"""Training: the only part of the package that imports torch."""

import os

# Threads that wait for each other spin for a while before they sleep. OpenMP's default takes the cores from whatever else runs:
# two busy loops beside it make a step many times as long. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) costs 45 % on an idle
# machine. This count is as fast as the default there, and twice as slow as alone beside the loops. Read when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "100000")

"""Training: the only part of the package that imports torch."""

import os

# Threads that wait by spinning take the cores from whatever else runs, and from each other: on two busy cores a step then
# takes eight times as long. Read once, when torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

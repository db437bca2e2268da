"""From PlanetScope items to a complete, reviewed inventory of retrogressive thaw slumps."""

import sys

__version__ = "0.1.0"

# OpenVINO tells Google Analytics of each time it is imported, from a process that it forks while our threads compute, which can
# stop both for ever. Where that package of it can't be imported it sends nothing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

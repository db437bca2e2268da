"""What was tried and how it ended, as the table of docs/reliability.md: python tests/faults/table.py COUNTS.json."""

import json
import sys
from collections import defaultdict
from pathlib import Path

from rts_pipeline.stages import STAGES

ENDED = ("equal", "told", "missed", "lost")
"""The next run ended equal; so it did after one clear line; the fault came too late; something was lost."""


def markdown(rows):
    """Return a table of stages and faults with how many ended `equal + told`, from rows of stage, fault, outcome, number.

    What came too late, and was tried again, is no part of it; what was lost is.
    """
    rows, number = list(rows), defaultdict(int)
    for stage, fault, outcome, tried in rows:
        assert outcome in ENDED
        number[stage, fault, outcome] += tried
        number["all", fault, outcome] += tried
    faults = sorted({fault for _, fault, *_ in rows})
    order = [*STAGES, "whole run", "all"]
    stages = sorted({stage for stage, *_ in number}, key=order.index)

    def cell(stage, fault):
        equal, told, _, lost = (number[stage, fault, outcome] for outcome in ENDED)
        return "" if not equal + told + lost else f"{equal} + {told}" + (f", {lost} lost" if lost else "")

    lines = [
        ["", *faults],
        ["---"] * (1 + len(faults)),
        *([stage, *(cell(stage, fault) for fault in faults)] for stage in stages),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))

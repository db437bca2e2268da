"""What a review costs, from its pictures to the sign-off; figures in results/bench/review.json, a part each.

python bench/review.py                      all parts, an hour and a quarter on two cores that do nothing else
python bench/review.py evidence             a round of the demo (run `make demo` before), spread to 5,000: review_evidence.py
python bench/review.py page                 5,000 and 60,000 candidates in Chromium: review_page.py
python bench/review.py record               5,000 and 60,000 candidates, without a page: review_record.py
python bench/review.py page record --candidates 50 --verdicts 5 --out /tmp/review.json     whether it runs
"""

from __future__ import annotations

import argparse
import json
import platform
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import review_evidence
import review_page
import review_record

from rts_pipeline import io

PARTS = ("evidence", "page", "record")


def measured(part: str, args: argparse.Namespace) -> dict[str, Any]:
    if part == "evidence":
        return review_evidence.measured(args.config, args.round, args.candidates[0])
    if part == "page":
        return {str(n): review_page.measured(n, args.verdicts) for n in args.candidates}
    return {str(n): review_record.measured(n) for n in args.candidates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; without: all")
    parser.add_argument("--config", type=Path, default=Path("config/demo.yaml"), help="of the demo")
    parser.add_argument("--round", default="01", help="of the demo")
    parser.add_argument("--candidates", type=int, nargs="+", default=[5_000, 60_000])
    parser.add_argument("--verdicts", type=int, default=100, help="on the page, at each pace")
    parser.add_argument("--out", type=Path, default=Path("results/bench/review.json"))
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    for part in args.parts or PARTS:
        # each in a process of its own: a peak of memory is then that of the part
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found = pool.submit(measured, part, args).result()
        known = json.loads(args.out.read_text()) if args.out.exists() else {}
        io.write_json(args.out, {**known, part: found, "machine": f"{platform.machine()}, Python {platform.python_version()}"})


if __name__ == "__main__":
    main()

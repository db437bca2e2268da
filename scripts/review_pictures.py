"""Take the pictures of the review page in docs/pictures: the page as it is, on the second round of the finished demo.

make demo                              (once; its results stay as they are)
python scripts/review_pictures.py      all pictures, a minute or two; needs chromium
python scripts/review_pictures.py review_open review_map --out /tmp
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import yaml
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser_case import Reader, ring  # noqa: E402
from page_case import Server  # noqa: E402
from rts_pipeline.review.desk import Desk  # noqa: E402
from rts_pipeline.review.given import Verdict  # noqa: E402
from rts_pipeline.review.rounds import SIGNOFF, round_folder  # noqa: E402

DEMO = Path("results/demo")
QUALITY = 72
WINDOWS = 12
READ: dict[str, dict[str, Any]] = {
    "ben": {
        "decision": "accept",
        "possibility": 0.75,
        "first_year_visible": 2018,
        "active": True,
        "note": "The floor is bare in every year since 2018 and reaches further uphill each time; the headwall is sharp in "
        "false colour. I took the outline as it is, although its lower end may hold some of the old tongue.",
    },
    "cai": {
        "decision": "reject",
        "possibility": 0.25,
        "reject_reason": "stable scar",
        "note": "An old scar to me: plants come back along its edges, and what seems to grow is the shadow of a later date.",
    },
}
"""What two readers say of one candidate."""


class Round:
    """The demo's second round, open for review, with the windows of an audit; what `page_case.Server` serves."""

    def __init__(self, folder: Path) -> None:
        """Lay out a copy in a folder."""
        self.folder, self.config = folder, folder / "config.yaml"
        self.results, self.reviews = folder / "results", folder / "reviews"
        values = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
        values |= {"results": str(self.results), "reviews": str(self.reviews), "audit": {"windows": WINDOWS}}
        self.config.write_text(yaml.safe_dump(values))
        here, source = self.results / "rounds/02", (DEMO / "rounds/02").resolve()
        here.mkdir(parents=True)
        for path in source.iterdir():
            if path.name != "evidence":
                (here / path.name).symlink_to(path)
        for name in ("mosaic", "rounds/01"):
            (self.results / name).symlink_to((DEMO / name).resolve())
        shutil.copytree(DEMO / "reviews/round_01", self.reviews / "round_01")
        dem = ["--dem", values["attributes"]["dem"]]
        tables = ["--outlines", here / "outlines.parquet", "--labels", here / "labels.parquet", "--aoi", values["area"]["aoi"]]
        self.run("audit", "02", *sorted((source / "probability").glob("*.tif")), *tables, *dem,
                 "--out", here / "audit.parquet", "--out-summary", here / "audit.json")  # fmt: skip
        made = [
            "--candidates",
            here / "candidates.parquet",
            "--catalog",
            DEMO / "scenes/catalog.parquet",
            "--model",
            source / "model",
        ]
        self.run("evidence", *made, "--choice", source / "validation/validation.json", "--audit", here / "audit.parquet", *dem,
                 "--cache", folder / "cache", "--out", here / "evidence", "--device", "cpu")  # fmt: skip
        self.run("review", "start", "02")

    def run(self, *command: object) -> None:
        """Run a command of the product."""
        subprocess.run([sys.executable, "-m", "rts_pipeline.cli", *map(str, command), "--config", str(self.config)], check=True)

    def judge(self, reviewer: str, said: dict[str, dict[str, Any]]) -> None:
        """Record what a reviewer says, by candidate or window."""
        desk = Desk(self.reviews, self.results, "02", reviewer)
        for name, fields in said.items():
            desk.decide(Verdict(candidate_id=name, **fields))

    def decided(self, besides: str) -> dict[str, dict[str, Any]]:
        """What leaves nothing open but one candidate."""
        found = Desk(self.reviews, self.results, "02", "nobody").position
        return {name: {"decision": "reject"} for name in found if name != besides}

    def sign_off(self) -> None:
        """Let somebody else have signed the round off."""
        shutil.copy(round_folder(DEMO / "reviews", "02") / SIGNOFF, round_folder(self.reviews, "02"))

    @property
    def candidates(self) -> list[str]:
        """All candidates."""
        return sorted(gpd.read_parquet(self.results / "rounds/02/candidates.parquet")["candidate_id"])

    @property
    def slumps(self) -> list[str]:
        """Candidates that the demo's reviewer took for slumps."""
        rows = gpd.read_parquet(DEMO / "reviews/round_02/reviewed.parquet")
        return sorted(rows.loc[rows["decision"].eq("accept"), "candidate_id"])

    @property
    def window(self) -> str:
        """The window of the audit with most candidates and known slumps in it."""
        frame = gpd.read_parquet(self.results / "rounds/02/audit.parquet")
        frame = frame[frame["sampled"]]
        found = gpd.read_parquet(self.results / "rounds/02/candidates.parquet")
        within = [int(found.intersects(window).sum()) for window in frame.geometry]
        full = frame.assign(within=within, knows=frame["known"].notna()).sort_values(["within", "knows", "window_id"])
        return str(full["window_id"].iloc[-1])


class Camera:
    """Goes to each state of the page and takes its picture."""

    def __init__(self, reader: Reader, round: Round, out: Path, wanted: list[str]) -> None:
        """Take pictures of what the reader sees."""
        self.reader, self.round, self.out, self.wanted = reader, round, out, wanted
        self.slump = round.slumps[0]

    def take(self, name: str) -> None:
        """Take a picture of the page as it stands."""
        self.reader.page.wait_for_timeout(1500)
        if not self.wanted or name in self.wanted:
            picture = Image.open(BytesIO(self.reader.page.screenshot())).convert("RGB")
            picture.save(self.out / f"{name}.webp", quality=QUALITY, method=6)
            print(f"{name}: {(self.out / f'{name}.webp').stat().st_size / 1e3:.0f} kB")

    def tour(self) -> None:
        """Take all pictures."""
        reader = self.reader
        self.begin()
        for key, name in (("c", "false_colour"), ("c h", "hillshade"), ("h h s", "swipe"), ("b p", "map")):
            reader.press(*key.split())
            self.take(f"review_{name}")
        reader.press("b")
        for key, name in (("?", "keys"), ("l", "guideline"), ("x", "examples")):
            reader.press(key)
            self.take(f"review_{name}")
            reader.press("Escape")
        self.outlines()
        self.reader.goes_to(self.round.window)
        self.take("review_window")
        self.unsaved()

    def begin(self) -> None:
        """Some verdicts, one of them seen again with its numbers; then what is open."""
        reader = self.reader
        others = [name for name in self.round.candidates if name not in self.round.slumps[1:] and name != self.slump]
        for keys, name in zip(("2", "Shift+2", "4"), others, strict=False):
            self.reader.goes_to(name)
            reader.press(keys)
            reader.saved()
        self.reader.goes_to(self.slump)
        self.take("review_open")
        reader.press(",", ",", ",", "y", ".", ".", ".", "q", "u", "1")
        reader.saved()
        self.reader.goes_to(self.slump)
        self.take("review_decided")

    def outlines(self) -> None:
        """An outline that is redrawn, and a slump that is added."""
        reader = self.reader
        reader.press("3")
        reader.draws("part")
        reader.press("Tab", "Shift+ArrowUp", "x")
        ring(reader, [(20, 0), (8, 4), (6, -8), (-10, -6)])
        reader.press("Enter", "e")
        self.take("review_outline")
        reader.press("Escape")
        reader.press("n")
        reader.draws("0 parts")
        ring(reader, [(30, 3), (6, 12), (14, 1), (6, -10), (-8, -14)])
        self.take("review_missed")
        reader.press("Escape", "Escape")

    def unsaved(self) -> None:
        """What is said after the server was killed."""
        reader = self.reader
        self.reader.goes_to(self.slump)
        reader.server.kill()
        reader.press("4")
        reader.see("saved", "not saved")
        self.take("review_unsaved")

    def adjudicator(self) -> None:
        """What an adjudicator reads of two who differ."""
        reader = self.reader
        reader.goes_to(self.slump)
        self.take("review_adjudicator")
        reader.press("d")
        self.take("review_readings")

    def finished(self) -> None:
        """The last open candidate is decided; then a verdict that the server refuses."""
        reader = self.reader
        reader.shows(self.slump)
        reader.press("1")
        reader.saved()
        self.take("review_finished")
        self.round.sign_off()
        reader.press("4")
        reader.see("refused", "Not recorded")
        self.take("review_refused")


def main() -> None:
    """Take the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        round = Round(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def camera(reviewer: str, role: str = "primary") -> Camera:
            return Camera(Reader(browser, Server(round, reviewer, role=role)), round, args.out, args.names)

        camera("ada").tour()
        for name, said in READ.items():
            round.judge(name, {round.slumps[0]: said})
        camera("eve", "adjudicator").adjudicator()
        round.judge("fay", round.decided(besides=round.slumps[0]))
        camera("fay").finished()
        browser.close()


if __name__ == "__main__":
    main()

"""What the manifests of the orders list, held against what is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.scenes import delivered, names
from rts_pipeline.scenes.deliveries import Found
from rts_pipeline.scenes.headers import Headers

NAMED = 5
"""Missing files that a reason names; of more it gives the number."""


@dataclass(frozen=True)
class _Listed:
    bytes: int
    sha256: str | None


class Manifests:
    """The manifests among some files. Paths in a manifest are relative to its folder."""

    def __init__(self, found: Iterable[Found], headers: Headers, *, verify_checksums: bool) -> None:
        """Read them; `verify_checksums`: compare not only sizes."""
        files = list(found)
        here = {file.path for file in files}
        self._headers = headers
        self._verify = verify_checksums
        self._listed: dict[Path, _Listed] = {}
        self._missing: dict[Path, list[Path]] = defaultdict(list)
        self._lost: dict[str, dict[str, str]] = defaultdict(dict)
        for manifest in (file.path for file in files if file.name.role == "manifest" and not file.problem):
            for entry, (size, digest) in headers.of(manifest, "manifest").get("files", {}).items():
                path = Path(f"{manifest.parent}/{entry}")
                self._listed[path] = _Listed(size, digest)
                if path not in here and not delivered.exists(path):
                    self._missing[manifest].append(path)
                    name = names.parse(path)
                    self._lost[name.item_id][name.role] = path.name

    def size_problem(self, file: Found) -> str:
        """Say how a file's size differs from what its order's manifest lists, or ""."""
        listed = self._listed.get(file.path)
        if listed is None:
            return ""
        if file.bytes < listed.bytes:
            have = f"{file.bytes} of the {listed.bytes} bytes"
            return f"half-downloaded: {file.path.name} has {have} that the order's manifest lists"
        if file.bytes > listed.bytes:
            return f"not as ordered: {file.path.name} has {file.bytes} bytes, the order's manifest lists {listed.bytes}"
        return ""

    def problem(self, file: Found) -> str:
        """Say how a file's size or, where that is wanted, its sha256 differs from what its order's manifest lists, or ""."""
        problem, digest = self.size_problem(file), self.sha256(file)
        if problem or digest is None or not self._verify:
            return problem
        facts = self._headers.of(file.path, "sha256")
        if "error" in facts:
            return f"damaged: {file.path.name}: {facts['error']}"
        same = facts["sha256"] == digest.lower()
        return "" if same else f"not as ordered: {file.path.name} has another sha256 than the order's manifest lists"

    def sha256(self, file: Found) -> str | None:
        """Return the checksum that the manifest lists for a file of the listed size."""
        listed = self._listed.get(file.path)
        return listed.sha256 if listed and listed.bytes == file.bytes else None

    def missing(self, manifest: Path) -> str:
        """Say which of the files that a manifest lists are not there, or ""."""
        lost = sorted(_shown(path.name) for path in self._missing.get(manifest, []))
        if not lost:
            return ""
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        files = "1 file that is" if len(lost) == 1 else f"{len(lost)} files that are"
        return f"lists {files} not there: {', '.join(lost[:NAMED])}{more}"

    def lost(self, item_id: str, *roles: str) -> str:
        """Return the name of a file of an item in one of these roles that a manifest lists and that is not there, or ""."""
        lost = self._lost.get(item_id, {})
        return next((lost[role] for role in roles if role in lost), "")


def _shown(name: str) -> str:
    """Return a name of a damaged manifest as one line that any output can hold."""
    return " ".join(name.encode("utf-8", "backslashreplace").decode().split())

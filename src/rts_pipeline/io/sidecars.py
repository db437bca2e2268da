"""The files that make up one layer or raster: GDAL reads more than the one that is named."""

from __future__ import annotations

from pathlib import Path

BESIDE = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id"),
    ".mif": (".mid",),
    **dict.fromkeys((".tif", ".tiff"), (".tfw", ".tifw", ".wld")),
    **dict.fromkeys((".asc", ".bil", ".flt", ".img"), (".prj", ".hdr", ".wld")),
}
"""What lies beside a file under its stem and changes what is read: no index, no style, no overview."""
APPENDED = (".aux.xml", ".msk")
"""What GDAL finds under the whole name: georeference and nodata that a format can't hold, and a mask."""
IN_USE = ".lock"
"""A FileGDB's marks of who has it open."""


def files_of(path: Path) -> list[Path]:
    """Return what a named file or folder is made of, sorted: the file with those beside it, or all files of the folder.

    The named file is among them whether or not it is there; of the others only those that are.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != IN_USE)
    endings = BESIDE.get(path.suffix.lower(), ())
    beside = [path.with_suffix(form) for ending in endings for form in (ending, ending.upper())]
    appended = [path.with_name(f"{path.name}{ending}") for ending in APPENDED]
    return sorted({path, *(file for file in [*beside, *appended] if file.is_file())})

"""A reader in QGIS, as a program for the Python that has PyQGIS: loads the files of a release and tells their rows as JSON.

Usage: python3 pyqgis_read.py RELEASE
"""

import json
import sys
from pathlib import Path

from qgis.core import NULL, QgsApplication, QgsVectorLayer
from qgis.PyQt.QtCore import QDateTime, Qt


def main(release: Path) -> dict:
    told = {}
    for path in sorted(release.iterdir()):
        if path.suffix not in (".gpkg", ".geojson", ".kml", ".zip", ".csv") or path.name.startswith("manifest"):
            continue
        uri = f"/vsizip/{path}/rts_inventory.shp" if path.suffix == ".zip" else str(path)
        layer = QgsVectorLayer(uri, path.stem, "ogr")
        names = layer.fields().names()
        rows = [{name: plain(feature[name]) for name in names} for feature in layer.getFeatures()]
        told[path.name] = {
            "valid": layer.isValid(),
            "crs": layer.crs().authid(),
            "rows": rows,
            "empty": sum(feature.geometry().isEmpty() for feature in layer.getFeatures()),
        }
    return told


def plain(value):
    if value == NULL:
        return None
    if isinstance(value, (int, float, str, bool)):
        return value
    return (value.toUTC() if isinstance(value, QDateTime) else value).toString(Qt.ISODateWithMs)


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(main(Path(sys.argv[1]))))
    application.exitQgis()

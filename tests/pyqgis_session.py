"""A reviewer in QGIS, as a program for the Python that has PyQGIS: opens a package, draws its themes, judges, tells as JSON.

Usage: python3 pyqgis_session.py PACKAGE PICTURES           a first session
       python3 pyqgis_session.py PACKAGE PICTURES redraw    a later one: what was drawn is moved, split and copied
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    NULL,
    QgsApplication,
    QgsDateTimeRange,
    QgsFeature,
    QgsGeometry,
    QgsMapLayerType,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsUnitTypes,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import QDate, QDateTime, QSize, Qt, QTime


def main(package: Path, pictures: Path) -> dict:
    project = QgsProject.instance()
    assert project.read(str(package / "review.qgz")), project.error()
    layers = {layer.name(): layer for layer in project.mapLayers().values()}
    told = {
        "crs": project.crs().authid(),
        "relative": project.filePathStorage() == 1,
        "layers": {name: tell(layer) for name, layer in layers.items()},
        "order": [node.name() for node in project.layerTreeRoot().findLayers()],
        "themes": {
            name: sorted(layer.name() for layer in project.mapThemeCollection().mapThemeVisibleLayers(name))
            for name in project.mapThemeCollection().mapThemes()
        },
        "time": moments(project.timeSettings().temporalRange()),
        "step": [project.timeSettings().timeStep(), QgsUnitTypes.toString(project.timeSettings().timeStepUnit())],
        "view": [round(v) for v in box(project.viewSettings().defaultViewExtent())],
    }
    for name in told["themes"]:
        draw(project, name, pictures / f"{name}.png")
    for year in (2018, 2020):
        draw(project, "time-lapse", pictures / f"time {year}.png", year)
    told["form"] = form(layers["candidates"])
    told["categories"] = {category.value(): category.label() for category in layers["candidates"].renderer().categories()}
    told["styles"] = {name: styles(layer) for name, layer in layers.items() if layer.type() == QgsMapLayerType.VectorLayer}
    windows = layers.get("windows (look through)")
    if windows:
        told["windows"] = sorted(row["candidate_id"] for row in windows.getFeatures())
        told["form of windows"] = form(windows)
        look_through(windows)
    judge(layers)
    draw(project, "2020", pictures / "judged.png")
    return told


def tell(layer) -> dict:
    time = layer.temporalProperties()
    active = time is not None and time.isActive()
    return {
        "id": layer.id(),
        "valid": layer.isValid(),
        "read_only": layer.readOnly(),
        "source": layer.source(),
        "crs": layer.crs().authid(),
        "time": moments(time.fixedTemporalRange()) if active else None,
    }


def moments(span) -> list:
    return [span.begin().toString(Qt.ISODate), span.end().toString(Qt.ISODate)]


def box(extent) -> list:
    return [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()]


def draw(project, theme: str, path: Path, year=None) -> None:
    settings = QgsMapSettings()
    settings.setLayers(project.mapThemeCollection().mapThemeVisibleLayers(theme))
    settings.setDestinationCrs(project.crs())
    settings.setOutputSize(QSize(640, 400))
    settings.setBackgroundColor(project.backgroundColor())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    if year is not None:
        start, end = (QDateTime(QDate(year, *day), QTime(0, 0), Qt.UTC) for day in ((1, 1), (12, 31)))
        settings.setIsTemporal(True)
        settings.setTemporalRange(QgsDateTimeRange(start, end))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert not job.errors(), [error.message for error in job.errors()]
    job.renderedImage().save(str(path))


def styles(layer) -> dict:
    """Return colour and kind of the line on top of each symbol, by the value that it stands for; "": the layer's one symbol."""
    renderer = layer.renderer()
    if renderer.type() == "categorizedSymbol":
        # a category owns its symbol, so all are kept until they are read
        categories = renderer.categories()
        return {category.value(): top(category.symbol()) for category in categories}
    return {"": top(renderer.symbol())}


def top(symbol) -> list:
    line = symbol.symbolLayer(symbol.symbolLayerCount() - 1)
    return [line.color().name().upper(), int(line.penStyle())]


def form(layer) -> dict:
    """Return the widget of each column, what may be chosen, and which may be changed."""
    told = {}
    for index, field in enumerate(layer.fields()):
        widget = layer.editorWidgetSetup(index)
        choices = [next(iter(choice.items())) for choice in widget.config().get("map", [])]
        told[field.name()] = [widget.type(), choices, not layer.editFormConfig().readOnly(index)]
    return told


def judge(layers) -> None:
    """Accept the first, reject the second, redraw the third, and add a slump beside the first.

    Of slumps that were added before, move the first and remove the others.
    """
    candidates, missed = layers["candidates"], layers["missed slumps (add)"]
    rows = sorted(candidates.getFeatures(), key=lambda row: row["candidate_id"])
    column = candidates.fields().indexOf
    assert candidates.startEditing() and missed.startEditing()
    for row, values in zip(
        rows[:3],
        (
            {"decision": "accept", "possibility": 0.75, "note": "headwall", "outline_scope": "whole scar", "active": "yes"},
            {"decision": "reject", "reject_reason": "water"},
            {"decision": "edit"},
        ),
        strict=True,
    ):
        for name, value in values.items():
            assert candidates.changeAttributeValue(row.id(), column(name), value)
    assert candidates.changeGeometry(rows[2].id(), rows[2].geometry().buffer(-15, 8))
    earlier = sorted(missed.getFeatures(), key=lambda row: row["candidate_id"])
    for number, row in enumerate(earlier):
        if number:
            assert missed.deleteFeature(row.id())
            continue
        moved = QgsGeometry(row.geometry())
        moved.translate(70, 0)
        assert missed.changeGeometry(row.id(), moved)
    outline = QgsGeometry(rows[0].geometry())
    outline.translate(0, 150)
    assert missed.addFeature(drawn(missed, outline, possibility=0.5))
    for row in candidates.getFeatures():
        for index in range(len(candidates.fields())):
            kept, wrong = QgsVectorLayerUtils.validateAttribute(candidates, row, index)
            assert kept, wrong
    undecided = QgsFeature(rows[0])
    undecided["decision"], undecided["note"] = NULL, "no decision"
    assert not QgsVectorLayerUtils.validateAttribute(candidates, undecided, column("decision"))[0]
    undecided["decision"], undecided["reject_reason"] = "accept", "water"
    assert not QgsVectorLayerUtils.validateAttribute(candidates, undecided, column("reject_reason"))[0]
    for layer in (candidates, missed):
        assert layer.commitChanges(), layer.commitErrors()


def drawn(layer, outline, **values) -> QgsFeature:
    """Return what the tools for drawing, splitting and pasting make of an outline."""
    return QgsVectorLayerUtils.createFeature(
        layer, outline, {layer.fields().indexOf(name): value for name, value in values.items()}
    )


def redraw(package: Path) -> dict:
    """Move what was drawn in the package to where it overlaps nothing that it was; split it there; paste a copy of it."""
    project = QgsProject.instance()
    assert project.read(str(package / "review.qgz")), project.error()
    (missed,) = project.mapLayersByName("missed slumps (add)")
    (row,) = missed.getFeatures()
    name = row["candidate_id"]
    assert missed.startEditing()
    moved = QgsGeometry(row.geometry())
    moved.translate(0, 600)
    assert missed.changeGeometry(row.id(), moved)
    west, south, east, north = box(moved.boundingBox())
    # a little to the right of the middle: the western part is the larger one
    cut = [QgsPointXY(0.4 * west + 0.6 * east, y) for y in (south - 10, north + 10)]
    assert missed.splitFeatures(cut, False) == 0
    pasted = QgsGeometry(moved)
    pasted.translate(0, 600)
    assert missed.addFeature(drawn(missed, pasted, candidate_id=name, note="pasted"))
    assert missed.commitChanges(), missed.commitErrors()
    return {"name": name, "rows": [[row["candidate_id"], row.geometry().area()] for row in missed.getFeatures()]}


def look_through(windows) -> None:
    """Nothing is missing in the first window."""
    row = min(windows.getFeatures(), key=lambda row: row["candidate_id"])
    assert windows.startEditing()
    assert windows.changeAttributeValue(row.id(), windows.fields().indexOf("decision"), "reject")
    assert windows.commitChanges(), windows.commitErrors()


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    package, pictures = Path(sys.argv[1]), Path(sys.argv[2])
    facts = redraw(package) if sys.argv[3:] == ["redraw"] else main(package, pictures)
    print(json.dumps(facts))
    QgsProject.instance().clear()
    application.exitQgis()

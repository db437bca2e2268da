"""How to cite the inventory: CITATION.cff (Citation File Format 1.2.0) and the same as a sentence."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from rts_pipeline import __version__
from rts_pipeline.export.tables import Source
from rts_pipeline.io.files import write_text

METHOD_DOI = "10.5194/essd-14-3875-2022"
METHOD_AUTHORS = (
    *(("Zhuoxuan", "Xia"), ("Lingcao", "Huang"), ("Chengyan", "Fan"), ("Shichao", "Jia"), ("Zhanjun", "Lin")),
    *(("Lin", "Liu"), ("Jing", "Luo"), ("Fujun", "Niu"), ("Tingjun", "Zhang")),
)
"""Of Xia et al. (2022), whose way of going from round to round this is."""


def authors(source: Source) -> list[dict[str, str]]:
    """Return the makers (area.creator_lab): `written` as configured, and family-names, given-names (or name) and affiliation.

    ARTS writes initials and surname as one word, TLantz: the last of the leading capitals is the surname's. A maker of another
    form is an entity with a name.
    """
    people = []
    for entry in filter(None, (part.strip() for part in source.options.area.creator_lab.split(";"))):
        name, _, organisation = (part.strip() for part in entry.partition(","))
        capitals = len(list(takewhile(str.isupper, name)))
        if 1 < capitals < len(name) and " " not in name:
            initials, surname = name[: capitals - 1], name[capitals - 1 :]
            person = {"family-names": surname, "given-names": " ".join(f"{letter}." for letter in initials)}
            person |= {"affiliation": organisation} if organisation else {}
        else:
            person = {"name": entry}
        people.append({"written": entry, **person})
    return people


def write_citation(path: Path, source: Source) -> None:
    """Write CITATION.cff."""
    people = [{key: text for key, text in person.items() if key != "written"} for person in authors(source)]
    export = source.options.export
    told: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this inventory, please cite it as below.",
        "type": "dataset",
        "title": source.title,
        # an author is required
        "authors": people or [{"name": "not stated"}],
        "date-released": source.day,
        "version": export.version,
        "doi": export.doi,
        "license": export.licence,
        "abstract": f"{len(source.slumps)} retrogressive thaw slumps, outlined on PlanetScope images of"
        f" {source.options.time.target_year} and reviewed by experts.",
        "keywords": ["retrogressive thaw slump", "permafrost", "PlanetScope"],
        "references": [
            {
                "type": "software",
                "title": "rts-pipeline",
                "version": __version__,
                "authors": [{"name": "the rts-pipeline authors"}],
                "license": "MIT",
            },
            {
                "type": "article",
                "title": "Retrogressive thaw slumps along the Qinghai-Tibet Engineering Corridor: a comprehensive inventory"
                " and their distribution characteristics",
                "authors": [{"family-names": family, "given-names": given} for given, family in METHOD_AUTHORS],
                "journal": "Earth System Science Data",
                "year": 2022,
                "doi": METHOD_DOI,
            },
        ],
    }
    present = {key: value for key, value in told.items() if value is not None}
    write_text(path, yaml.safe_dump(present, sort_keys=False, allow_unicode=True, width=120))


def sentence(source: Source) -> str:
    """Return the citation as a sentence."""
    export = source.options.export
    makers = "; ".join(person.get("name") or f"{person['family-names']}, {person['given-names']}" for person in authors(source))
    version = f" (version {export.version})" if export.version else ""
    doi = f" https://doi.org/{export.doi}" if export.doi else ""
    return f"{makers or 'Authors not stated'} ({source.day[:4]}): {source.title}{version}. Data set.{doi}"

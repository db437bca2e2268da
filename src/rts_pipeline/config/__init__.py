"""The configuration: one typed model, from which the documented default file and the reference page are made."""

from rts_pipeline.config.area import Area, GridSection, Place, Season, Time
from rts_pipeline.config.base import Count, Section
from rts_pipeline.config.candidates import Candidates, Inference, Outlining, Polygonize, Predict, Shaping
from rts_pipeline.config.inventory import Covariate, Covariates, Measures
from rts_pipeline.config.learning import Chips, Choice, Labelling, Learning, Network, Placement, Windows
from rts_pipeline.config.load import first_problem, load_config, validate_config
from rts_pipeline.config.release import Export, Report
from rts_pipeline.config.review import GUIDELINE, Audit, Evidence, Review, Years
from rts_pipeline.config.scenes import BANDS, UDM2_CLASSES, Adjust, Agreement, Mosaic, Scenes, Usability
from rts_pipeline.config.whole import Config

__all__ = [
    "BANDS",
    "GUIDELINE",
    "UDM2_CLASSES",
    "Adjust",
    "Agreement",
    "Area",
    "Audit",
    "Candidates",
    "Chips",
    "Choice",
    "Config",
    "Count",
    "Covariate",
    "Covariates",
    "Evidence",
    "Export",
    "GridSection",
    "Inference",
    "Labelling",
    "Learning",
    "Measures",
    "Mosaic",
    "Network",
    "Outlining",
    "Place",
    "Placement",
    "Polygonize",
    "Predict",
    "Report",
    "Review",
    "Scenes",
    "Season",
    "Section",
    "Shaping",
    "Time",
    "Usability",
    "Windows",
    "Years",
    "first_problem",
    "load_config",
    "validate_config",
]

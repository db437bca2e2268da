"""From PlanetScope items to a complete, reviewed inventory of retrogressive thaw slumps."""

__version__ = "0.1.0"

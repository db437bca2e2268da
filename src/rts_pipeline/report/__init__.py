"""The report: one HTML file that shows what was found, where, how the rounds went, and what was not seen."""

"""Scores of outlines and of probabilities against a truth: the one implementation that every stage uses.

`objects` matches outlines one to one, `boundary` measures how far apart matched ones lie, `pixels` scores probabilities and
their calibration, `raters` and `drawn` say how far several people agree, `bootstrap` how sure a score is. What can't be
computed (no outline, no truth) is None, never 0 or 1.
"""

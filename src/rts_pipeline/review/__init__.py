"""The review: what people decide about the candidates of a round, as append-only events and a signed-off table.

`rounds` and `status` read the state of the reviews folder without loading a geometry library, since the workflow asks for
it each time it is parsed.
"""

"""Stage `validate`: how well a round's network does on ground that it didn't learn from, and what follows from that."""

"""The inventory: which outlines are slumps, what is measured for each, the published files and their dictionary."""

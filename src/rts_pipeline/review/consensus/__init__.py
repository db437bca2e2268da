"""Consensus of people who each drew slumps freely, without candidates to judge.

`drawings` reads what they drew, `matching` says which outlines show the same slump, `majority` where most agree that it ends,
`layers` and `build` what follows from that, `table` and `figure` show it.
"""

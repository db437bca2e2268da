"""The command line: one thin command for each stage, in the groups of workflow/rules.

Modules of stages are imported inside the commands, so that `--help` answers at once.
"""

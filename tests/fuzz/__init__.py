"""Fuzzing of whatever is read: configs, loan books, tables, runs. ``python -m tests.fuzz`` runs as many cases as wanted.

A case is a file or an argument that Hypothesis changed. Each must end in what was meant or in ConfigError, whose every
line is one line that names a field or a file. Cases run in a child process of bounded memory, each for a bounded time.
"""

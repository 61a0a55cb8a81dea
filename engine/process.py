"""What kind of process this is."""

from __future__ import annotations

began: float | None = None
"""When the first file of the package was read, in seconds since 1970, in a process of the command line.

None in any other, where code that is not the package's may have changed what the package does.
"""

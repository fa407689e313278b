"""Restoration of faces in video: reading, tracking, restoring, compositing, measuring. Importing this package is cheap: no torch."""

__version__ = "0.1.0"

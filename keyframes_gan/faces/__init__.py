"""Faces: finding, following, aligning and pasting them back. Importing this package loads no model."""

"""Video in and out. The only part of the project that knows PyAV: timestamps, rotation, colour, audio copy, atomic output."""

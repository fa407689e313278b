"""The pass from video to video: decode, follow faces, cut them out, restore, paste, encode. See `stream` and `paper`."""

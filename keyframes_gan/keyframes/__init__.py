"""Key frames: which reference picture serves which frame (`memory`), and how it is warped to it (`warp`)."""

"""`tpvideo mesh`: the head's surface in a file, in a film, and against a scan."""

"""`tpvideo edit`: directions found, named and shown."""

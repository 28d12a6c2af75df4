"""`tpvideo batch`: many sources in one run, on this machine or on a cluster."""

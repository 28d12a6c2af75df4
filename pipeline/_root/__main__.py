"""`python -m tpvideo` is the command `tpvideo`."""

from tpvideo.pipeline.cli import main

main()

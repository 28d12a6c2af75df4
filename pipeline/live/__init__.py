"""Live: a camera in, the novel view out, on a page, in a window, as a camera or as a file."""

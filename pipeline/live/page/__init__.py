"""The local web page: pictures out, knobs and, if wished, the browser's camera in."""

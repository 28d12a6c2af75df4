"""`tpvideo eval`: what a model is worth, in numbers and pictures."""

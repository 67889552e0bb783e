"""The persistent numbers of targets, and the file that records them."""

"""The persistent numbers of targets: who has which, and the file that records them."""

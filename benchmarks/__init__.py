"""The same work on this library and on its peers, in turns, as ratios: ``nox -s bench``."""

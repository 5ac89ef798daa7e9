"""All that is to be found out on a machine with a GPU, in one command: ``python -m benchmarks.device --out DIR``."""

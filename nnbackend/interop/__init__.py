"""Where nnbackend meets files and other programs: the edges, on the host."""

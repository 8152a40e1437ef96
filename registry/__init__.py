"""The catalogue and its artifact store: what was found, with which evidence, and where it lies."""

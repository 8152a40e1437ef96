"""What is like what: sketches in one matrix propose, vectors decide."""

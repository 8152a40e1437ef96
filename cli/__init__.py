"""The command line: one command, one file; everything heavy is imported inside the command bodies."""

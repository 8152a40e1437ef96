"""The index of the files: tables, rows, sessions, queries."""

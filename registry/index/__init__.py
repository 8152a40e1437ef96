"""The database over the files: tables, sessions, locks, queries."""

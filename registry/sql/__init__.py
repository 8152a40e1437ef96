"""Questions in SQL: checked, answered from a copy or by a server that may only read, and written to files."""

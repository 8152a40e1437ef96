"""Reaching the database: locks and waiting, the embedded file, a server and its password."""

"""`loco dataset remove`."""

from cli.removing import removal

remove = removal("dataset", "Its images stay where they are, and so do the directions found in them.")

"""`loco model remove`."""

from cli.removing import removal

remove = removal("model", "Its weights stay where they are, and so do the directions found with it.")

"""What edited images say of themselves: metadata, a signature, an invisible mark, and the reading of all three."""

"""Pictures of directions: made when they are asked for, kept in the cache, never part of an identity."""

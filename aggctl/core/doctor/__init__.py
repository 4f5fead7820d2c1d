"""Doctor: walk the hops of an API in order, and name the first broken one, its cause, and what mends it."""

"""Values in, values out: no clock, disk, socket or terminal below this package."""

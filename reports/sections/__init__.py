"""The sections of the page, a module each, in the order in which they are read."""

"""Models for the world outside: a folder that others load, its card, and proof that it answers the
same as before."""

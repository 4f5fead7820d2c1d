"""What is handed out: wheel and sdist, the one file, the Debian package, what is in them, and their sums."""

"""Generated sample data; see README.md."""

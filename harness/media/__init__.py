"""Media: the files that guests boot from, fetched once, checked always, kept by content."""

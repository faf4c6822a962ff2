"""Records: JSON lines that every run leaves while it goes, so that a killed run still tells what it was doing."""

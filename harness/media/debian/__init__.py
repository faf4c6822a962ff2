"""Files out of Debian packages, which are downloaded and read, never installed."""

"""Finds out what an image is that nobody has described, and proposes a guest's file for it (`bringup guests add`)."""

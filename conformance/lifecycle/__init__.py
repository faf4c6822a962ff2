"""A guest at work, and how it ends: commands, reboot, panic, and the same again to the last instruction."""

"""How tests and people drive machines: media, consoles, ladders and the `bringup` command."""
